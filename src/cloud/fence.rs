//! How a builder's security group is made once, put right and taken down, in terms of the single calls of an
//! API. Whoever plays EC2 gives the calls; the order between them, which must survive a crash at any point, is
//! one for all.

use std::future::Future;

use super::CloudError;
use crate::model::{Egress, FailureKind, Fence, GroupId, Place, TagSet, tag_keys};

/// A security group as EC2 shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceGroup {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// What it lets in.
    pub inbound: Vec<FenceRule>,
    /// What it lets out.
    pub outbound: Vec<FenceRule>,
    /// Its tags.
    pub tags: TagSet,
}

/// One rule for one peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FenceRule {
    /// EC2's word or number, `-1` for all.
    pub protocol: String,
    /// The first and the last port; none where the protocol has none.
    pub ports: Option<(i32, i32)>,
    /// A range of addresses, or the id of a group or of a prefix list.
    pub peer: String,
}

/// Which security groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichGroups<'a> {
    /// The one of this name in this VPC.
    Named(&'a str, &'a str),
    /// The one of this id.
    One(&'a GroupId),
    /// Those that carry the tags of this fleet's builders; of any fleet's, if it is empty.
    Fences(&'a str),
}

/// The single calls.
pub trait FenceApi: Send + Sync {
    /// The VPC that a launch into this place goes to.
    fn vpc(&self, place: &Place) -> impl Future<Output = Result<String, CloudError>> + Send;

    /// DescribeSecurityGroups: every page.
    fn groups(&self, which: WhichGroups<'_>) -> impl Future<Output = Result<Vec<FenceGroup>, CloudError>> + Send;

    /// CreateSecurityGroup, with these tags.
    fn create_group(
        &self,
        name: &str,
        vpc: &str,
        tags: &TagSet,
    ) -> impl Future<Output = Result<GroupId, CloudError>> + Send;

    /// AuthorizeSecurityGroupEgress: all of these, or none.
    fn let_out(&self, id: &GroupId, rules: &[FenceRule]) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// RevokeSecurityGroupEgress: all of these, or none.
    fn stop_out(&self, id: &GroupId, rules: &[FenceRule]) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// RevokeSecurityGroupIngress: all of these, or none.
    fn stop_in(&self, id: &GroupId, rules: &[FenceRule]) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// DeleteSecurityGroup.
    fn delete_group(&self, id: &GroupId) -> impl Future<Output = Result<(), CloudError>> + Send;
}

/// What it is for, in the words that EC2 takes.
pub const FENCE_DESCRIPTION: &str = "latent: builder of a rebake, nothing comes in";

const DUPLICATE: &str = "InvalidGroup.Duplicate";
const GONE: &str = "InvalidGroup.NotFound";
/// Wherever a builder finds its updates: which addresses those have, nobody knows.
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// A group of a name is made once; then, and whenever it is asked for again, its rules are compared with what
/// they shall be, and what is too much goes before what is missing comes.
///
/// # Errors
/// As [`super::Bakery::fence`].
pub async fn raise(api: &impl FenceApi, fleet: &str, fence: &Fence) -> Result<GroupId, CloudError> {
    let vpc = api.vpc(&fence.place).await?;
    let named = WhichGroups::Named(&fence.name, &vpc);
    let standing = match api.groups(named).await?.into_iter().next() {
        Some(group) => group,
        None => made(api, fence, &vpc).await?,
    };
    if !is_ours(&standing, fleet) {
        return Err(not_ours(&standing));
    }
    let wanted = rules(&fence.egress);
    let surplus: Vec<FenceRule> = standing.outbound.iter().filter(|rule| !wanted.contains(rule)).cloned().collect();
    let missing: Vec<FenceRule> = wanted.into_iter().filter(|rule| !standing.outbound.contains(rule)).collect();
    if !standing.inbound.is_empty() {
        api.stop_in(&standing.id, &standing.inbound).await?;
    }
    if !surplus.is_empty() {
        api.stop_out(&standing.id, &surplus).await?;
    }
    if !missing.is_empty() {
        api.let_out(&standing.id, &missing).await?;
    }
    Ok(standing.id)
}

/// CreateSecurityGroup knows no token: the name is what makes it one. EC2 gives a new group rules of its own,
/// which are looked up and not guessed.
async fn made(api: &impl FenceApi, fence: &Fence, vpc: &str) -> Result<FenceGroup, CloudError> {
    let shown = match api.create_group(&fence.name, vpc, &fence.tags).await {
        Ok(id) => api.groups(WhichGroups::One(&id)).await?,
        Err(error) if error.code == DUPLICATE => api.groups(WhichGroups::Named(&fence.name, vpc)).await?,
        Err(error) => return Err(error),
    };
    shown.into_iter().next().ok_or_else(|| CloudError {
        kind: FailureKind::RetrySame,
        code: "NotShownYet".to_owned(),
        message: format!("security group {} was made and is not shown yet", fence.name),
    })
}

/// One rule for all addresses of either kind.
fn rules(egress: &[Egress]) -> Vec<FenceRule> {
    let one = |egress: &Egress| {
        let ports = Some((i32::from(egress.from), i32::from(egress.to))).filter(|_| egress.protocol != "-1");
        EVERYWHERE.map(|peer| FenceRule { protocol: egress.protocol.clone(), ports, peer: peer.to_owned() })
    };
    egress.iter().flat_map(one).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// Takes a fence down, if it is there.
///
/// # Errors
/// As [`super::Bakery::unfence`].
pub async fn take_down(api: &impl FenceApi, fleet: &str, id: &GroupId) -> Result<(), CloudError> {
    let Some(group) = api.groups(WhichGroups::One(id)).await?.into_iter().next() else { return Ok(()) };
    if !is_ours(&group, fleet) {
        return Err(not_ours(&group));
    }
    match api.delete_group(id).await {
        Err(error) if error.code == GONE => Ok(()),
        other => other,
    }
}

/// There is no default VPC, which a launch without a subnet goes to.
#[must_use]
pub fn no_default_vpc() -> CloudError {
    CloudError {
        kind: FailureKind::Owner,
        code: "DefaultVpcDoesNotExist".to_owned(),
        message: "the account has no default VPC in this region: name a subnet in the image manifest (subnets)"
            .to_owned(),
    }
}

/// A door without a fleet takes any fleet's for its own, and nothing else.
fn is_ours(group: &FenceGroup, fleet: &str) -> bool {
    let of = group.tags.get(tag_keys::FLEET);
    if fleet.is_empty() { of.is_some() } else { of == Some(fleet) }
}

fn not_ours(group: &FenceGroup) -> CloudError {
    CloudError {
        kind: FailureKind::Owner,
        code: "NotOurs".to_owned(),
        message: format!(
            "security group {} ({}) does not carry the fleet's tag: it is left alone",
            group.id, group.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A VPC with one group at most, behind an API that stops to answer after some calls; the last one of them
    /// is done or not.
    #[derive(Default)]
    struct Account {
        group: Mutex<Option<FenceGroup>>,
        calls_left: Mutex<u32>,
        last_is_done: bool,
    }

    fn id() -> GroupId {
        "sg-1".parse().expect("valid")
    }

    fn rule(protocol: &str, ports: Option<(i32, i32)>, peer: &str) -> FenceRule {
        FenceRule { protocol: protocol.to_owned(), ports, peer: peer.to_owned() }
    }

    fn fence() -> Fence {
        let mut tags = TagSet::default();
        tags.set(tag_keys::FLEET, "f").set(tag_keys::ROLE, "rebake");
        let egress = vec![Egress { protocol: "tcp".to_owned(), from: 443, to: 443 }];
        Fence { name: "fence".to_owned(), place: Place::Anywhere, egress, tags }
    }

    fn refusal(code: &str, kind: FailureKind) -> CloudError {
        CloudError { kind, code: code.to_owned(), message: String::new() }
    }

    impl Account {
        fn answering(calls: u32, last_is_done: bool) -> Self {
            Self { calls_left: Mutex::new(calls), last_is_done, ..Self::default() }
        }

        fn call<T>(
            &self,
            effect: impl FnOnce(&mut Option<FenceGroup>) -> Result<T, CloudError>,
        ) -> Result<T, CloudError> {
            let (mut left, mut group) =
                (self.calls_left.lock().expect("not poisoned"), self.group.lock().expect("not poisoned"));
            let lost = Err(refusal("Timeout", FailureKind::Unreachable));
            match *left {
                0 => return lost,
                _ => *left -= 1,
            }
            if *left > 0 {
                return effect(&mut group);
            }
            if self.last_is_done {
                let _ = effect(&mut group);
            }
            lost
        }

        fn edit(&self, edit: impl FnOnce(&mut FenceGroup)) -> Result<(), CloudError> {
            self.call(|group| match group {
                Some(group) => {
                    edit(group);
                    Ok(())
                }
                None => Err(refusal(GONE, FailureKind::Owner)),
            })
        }

        fn standing(&self) -> Option<FenceGroup> {
            self.group.lock().expect("not poisoned").clone()
        }

        fn answers_again(&self) {
            *self.calls_left.lock().expect("not poisoned") = 100;
        }
    }

    impl FenceApi for Account {
        async fn vpc(&self, _: &Place) -> Result<String, CloudError> {
            self.call(|_| Ok("vpc-1".to_owned()))
        }

        async fn groups(&self, _: WhichGroups<'_>) -> Result<Vec<FenceGroup>, CloudError> {
            self.call(|group| Ok(group.iter().cloned().collect()))
        }

        async fn create_group(&self, name: &str, _: &str, tags: &TagSet) -> Result<GroupId, CloudError> {
            self.call(|group| {
                if group.is_some() {
                    return Err(refusal(DUPLICATE, FailureKind::RetrySame));
                }
                // As EC2 does where a VPC has addresses of both kinds.
                let outbound = EVERYWHERE.map(|peer| rule("-1", None, peer)).to_vec();
                let (name, tags, inbound) = (name.to_owned(), tags.clone(), Vec::new());
                *group = Some(FenceGroup { id: id(), name, inbound, outbound, tags });
                Ok(id())
            })
        }

        async fn let_out(&self, _: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
            self.edit(|group| group.outbound.extend(rules.iter().cloned()))
        }

        async fn stop_out(&self, _: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
            self.edit(|group| group.outbound.retain(|own| !rules.contains(own)))
        }

        async fn stop_in(&self, _: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
            self.edit(|group| group.inbound.retain(|own| !rules.contains(own)))
        }

        async fn delete_group(&self, _: &GroupId) -> Result<(), CloudError> {
            self.call(|group| group.take().map(drop).ok_or_else(|| refusal(GONE, FailureKind::Owner)))
        }
    }

    #[tokio::test]
    async fn wherever_a_fence_is_cut_off_the_next_call_makes_it_right() {
        let mut cut = 0;
        for calls in 1..12 {
            for last_is_done in [false, true] {
                let account = Account::answering(calls, last_is_done);
                cut += u32::from(raise(&account, "f", &fence()).await.is_err());
                account.answers_again();
                assert_eq!(raise(&account, "f", &fence()).await, Ok(id()));
                let group = account.standing().expect("it stands");
                let wanted = EVERYWHERE.map(|peer| rule("tcp", Some((443, 443)), peer)).to_vec();
                assert_eq!((group.inbound, group.outbound), (Vec::new(), wanted), "{calls} {last_is_done}");
            }
        }
        assert_eq!(cut, 12, "each of its six calls, done or not");
    }

    #[tokio::test]
    async fn a_fence_that_nobody_shows_yet_is_asked_for_again() {
        /// A group that was made is shown by no replica.
        struct Late(Account);
        impl FenceApi for Late {
            async fn vpc(&self, place: &Place) -> Result<String, CloudError> {
                self.0.vpc(place).await
            }
            async fn groups(&self, _: WhichGroups<'_>) -> Result<Vec<FenceGroup>, CloudError> {
                Ok(Vec::new())
            }
            async fn create_group(&self, name: &str, vpc: &str, tags: &TagSet) -> Result<GroupId, CloudError> {
                self.0.create_group(name, vpc, tags).await
            }
            async fn let_out(&self, id: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
                self.0.let_out(id, rules).await
            }
            async fn stop_out(&self, id: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
                self.0.stop_out(id, rules).await
            }
            async fn stop_in(&self, id: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
                self.0.stop_in(id, rules).await
            }
            async fn delete_group(&self, id: &GroupId) -> Result<(), CloudError> {
                self.0.delete_group(id).await
            }
        }
        let late = Late(Account::answering(100, false));
        for _ in 0..2 {
            let refused = raise(&late, "f", &fence()).await.expect_err("it is not known to be a fence");
            assert_eq!(refused.kind, FailureKind::RetrySame);
        }
    }

    #[tokio::test]
    async fn a_group_of_others_is_neither_changed_nor_deleted() {
        let account = Account::answering(100, false);
        raise(&account, "f", &fence()).await.expect("a fence");
        account.group.lock().expect("not poisoned").as_mut().expect("it stands").inbound =
            vec![rule("tcp", Some((22, 22)), "0.0.0.0/0")];
        let before = account.standing();
        for fleet in ["another", "ff"] {
            assert_eq!(raise(&account, fleet, &fence()).await.expect_err("refused").code, "NotOurs");
            assert_eq!(take_down(&account, fleet, &id()).await.expect_err("refused").kind, FailureKind::Owner);
        }
        assert_eq!(account.standing(), before);
        take_down(&account, "f", &id()).await.expect("it is ours");
        take_down(&account, "f", &id()).await.expect("it is gone");
        assert_eq!(account.standing(), None);
    }
}
