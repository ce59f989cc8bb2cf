//! Pages of a listing, and the tokens that lead from one to the next.

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};

use super::query::{Node, combination};
use crate::model::digest_hex;
use crate::sim::error::ApiError;

/// How long a token of a next page is good.
const TOKEN_LIFE: TimeDelta = TimeDelta::hours(1);
/// The sizes of a page that EC2 takes.
const SIZES: std::ops::RangeInclusive<i64> = 5..=1000;

/// Which part of a listing a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    size: Option<usize>,
    after: Option<String>,
    /// What the listing is of: a token leads on only in the same one.
    listing: String,
    now: DateTime<Utc>,
}

/// A page, and how to get the next one.
#[derive(Debug)]
pub(super) struct Part<T> {
    /// The page's items.
    pub(super) items: Vec<T>,
    /// The token of the next page.
    pub(super) next: Option<String>,
}

impl Page {
    /// Reads `MaxResults` and `NextToken`. `ids` is the parameter that names resources one by one.
    pub(super) fn parse(root: &Node, action: &str, ids: &str, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let size = root.int("MaxResults")?;
        if size.is_some() && !root.texts(ids).is_empty() {
            let message = format!("The parameter {ids} cannot be used with the parameter maxResults");
            return Err(combination(message));
        }
        let size = size.map(in_range).transpose()?;
        // Two pages of one listing differ only in these.
        let listing = root.names().filter(|name| !matches!(*name, "MaxResults" | "NextToken" | "DryRun" | "Version"));
        let parameters: Vec<String> = listing.map(|name| format!("{:?}", root.part(name))).collect();
        let listing = short_digest(&format!("{action}{}", parameters.concat()));
        let after = root.filled("NextToken").map(|token| opened(token, &listing, now)).transpose()?;
        Ok(Self { size, after, listing, now })
    }

    /// The same, with a size for a call that says none.
    pub(super) fn or(mut self, size: usize) -> Self {
        self.size = self.size.or(Some(size));
        self
    }

    /// Whether this is a later page: its token may be said to have expired.
    pub(super) fn is_later(&self) -> bool {
        self.after.is_some()
    }

    /// Takes the page out of the whole, which must be in the order of `key`.
    pub(super) fn of<T>(&self, whole: impl IntoIterator<Item = T>, key: impl Fn(&T) -> &str) -> Part<T> {
        let after = self.after.as_deref();
        let mut rest = whole.into_iter().skip_while(|item| after.is_some_and(|after| key(item) <= after));
        let Some(size) = self.size else { return Part { items: rest.collect(), next: None } };
        let items: Vec<T> = rest.by_ref().take(size).collect();
        let more = rest.next().is_some();
        let next = items.last().filter(|_| more).map(|last| self.token(key(last)));
        Part { items, next }
    }

    fn token(&self, last: &str) -> String {
        let text = format!("{}\n{}\n{last}", self.listing, (self.now + TOKEN_LIFE).timestamp());
        digest_hex(format!("{text}\n{}", short_digest(&text)).as_bytes())
    }
}

fn in_range(size: i64) -> Result<usize, ApiError> {
    let fits = SIZES.contains(&size).then(|| usize::try_from(size).ok()).flatten();
    fits.ok_or_else(|| {
        let message = format!(
            "Value ( {size} ) for parameter maxResults is invalid. Expecting a value in range {} to {}.",
            SIZES.start(),
            SIZES.end()
        );
        ApiError::invalid_value(message)
    })
}

fn short_digest(text: &str) -> String {
    digest_hex(&Sha256::digest(text.as_bytes())[..8])
}

/// The last key of the page before.
fn opened(token: &str, listing: &str, now: DateTime<Utc>) -> Result<String, ApiError> {
    let invalid = || ApiError::client("InvalidNextToken", "The specified NextToken is not valid.");
    let text = from_hex(token).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    let (text, proof) = text.rsplit_once('\n').ok_or_else(invalid)?;
    if short_digest(text) != proof {
        return Err(invalid());
    }
    let mut parts = text.splitn(3, '\n');
    let (of, until, last) = (parts.next(), parts.next().and_then(|at| at.parse::<i64>().ok()), parts.next());
    let (Some(of), Some(until), Some(last)) = (of, until, last) else { return Err(invalid()) };
    if of != listing {
        return Err(invalid());
    }
    if now.timestamp() >= until { Err(expired()) } else { Ok(last.to_owned()) }
}

/// The refusal of a token that was good once.
pub(super) fn expired() -> ApiError {
    ApiError::client("InvalidPaginationToken", "The specified pagination token is not valid or is expired.")
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? * 16 + digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str, now: i64) -> Result<Page, ApiError> {
        let root = Node::parse(text.as_bytes()).expect("parses");
        Page::parse(&root, "DescribeInstances", "InstanceId", DateTime::UNIX_EPOCH + TimeDelta::seconds(now))
    }

    fn names() -> Vec<String> {
        (0..12).map(|n| format!("i-{n:02}")).collect()
    }

    #[test]
    fn pages_follow_each_other_and_lose_nothing() {
        let (mut seen, mut next, mut sizes) = (Vec::new(), String::new(), Vec::new());
        loop {
            let part = page(&format!("MaxResults=5{next}"), 0).expect("a page").of(names(), |name| name.as_str());
            sizes.push(part.items.len());
            seen.extend(part.items);
            let Some(token) = part.next else { break };
            next = format!("&NextToken={token}");
        }
        assert_eq!((seen, sizes), (names(), vec![5, 5, 2]));
        let whole = page("", 0).expect("a page").of(names(), |name| name.as_str());
        assert_eq!((whole.items.len(), whole.next), (12, None));
    }

    #[test]
    fn a_token_leads_on_in_its_own_listing_and_for_an_hour() {
        let token = page("MaxResults=5", 0).expect("a page").of(names(), |name| name.as_str()).next.expect("more");
        let code = |text: &str, now| page(text, now).expect_err("refused").code;
        assert!(page(&format!("MaxResults=7&NextToken={token}"), 3599).expect("good").is_later());
        assert_eq!(code(&format!("NextToken={token}"), 3600), "InvalidPaginationToken");
        let other = format!("NextToken={token}&Filter.1.Name=tag:a&Filter.1.Value.1=b");
        assert_eq!(code(&other, 1), "InvalidNextToken");
        for garbled in ["x", "abc", "00", "ff0a00", &token[2..]] {
            assert_eq!(code(&format!("NextToken={garbled}"), 1), "InvalidNextToken", "{garbled}");
        }
    }

    #[test]
    fn sizes_have_bounds_and_do_not_go_with_ids() {
        let code = |text: &str| page(text, 0).expect_err("refused").code;
        assert_eq!(code("MaxResults=4"), "InvalidParameterValue");
        assert_eq!(code("MaxResults=1001"), "InvalidParameterValue");
        assert_eq!(code("MaxResults=5&InstanceId.1=i-1"), "InvalidParameterCombination");
    }
}
