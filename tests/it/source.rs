//! Rust files as the tidy tests read them: code without comments and texts, and its functions.

use std::path::{Path, PathBuf};

/// A Rust file.
pub(crate) struct Source {
    /// Its path in the repository.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// The same lines with comments and texts blanked.
    pub(crate) code: String,
}

/// A function with its length.
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line of its name.
    pub(crate) at: usize,
    /// Lines between its braces.
    pub(crate) lines: usize,
}

/// Every Rust file below a folder of the repository, in order.
pub(crate) fn rust_files(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.join(folder)];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder of the repository") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let name = path.strip_prefix(root).expect("below the repository").display().to_string();
        Source::new(&name, text)
    };
    paths.into_iter().map(read).collect()
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        Self { path: path.to_owned(), code: code_of(&text), text }
    }

    /// The lines of the code with their numbers.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// Every function that has a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let starts = self.code.match_indices("fn ").filter(|(at, _)| {
            let before = self.code[..*at].chars().next_back();
            before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
        });
        starts.filter_map(|(at, _)| function_at(&self.code, at)).collect()
    }
}

fn function_at(code: &str, at: usize) -> Option<Function> {
    let line_of = |place: usize| code[..place].matches('\n').count() + 1;
    let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return None;
    }
    let open = at + code[at..].find(['{', ';'])?;
    if code[open..].starts_with(';') {
        return None;
    }
    let mut depth = 0_usize;
    let close = code[open..].char_indices().find_map(|(offset, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(open + offset)
    })?;
    Some(Function { name, at: line_of(at), lines: (line_of(close) - line_of(open)).saturating_sub(1) })
}

/// Blanks comments, texts and single characters; every line keeps its place.
fn code_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest, out.chars().next_back()).unwrap_or(0);
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    out
}

/// The length of the comment, text or character that begins here.
fn skipped(rest: &str, before: Option<char>) -> Option<usize> {
    let inside_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    if !inside_word && let Some(raw) = rest.strip_prefix('r') {
        let marks = raw.chars().take_while(|c| *c == '#').count();
        if raw[marks..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(marks));
            let from = 1 + marks + 1;
            return Some(rest[from..].find(&end).map_or(rest.len(), |at| from + at + end.len()));
        }
    }
    if rest.starts_with('"') {
        return Some(quoted_length(rest, '"'));
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut next = inside.chars();
        let (first, second) = (next.next()?, next.next());
        // Otherwise it is a lifetime.
        return (first == '\\' || second == Some('\'')).then(|| quoted_length(rest, '\''));
    }
    None
}

fn quoted_length(rest: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if !escaped && c == mark {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    rest.len()
}

#[test]
fn comments_texts_and_characters_are_blanked_and_lifetimes_stay() {
    let source = Source::new("x.rs", "let a = \"b // \\\" c\"; // d\nlet e: &'f str = r#\"g\"h\"#; 'i'".to_owned());
    assert!(!source.code.contains(['b', 'c', 'd', 'g', 'h', 'i']), "{}", source.code);
    assert!(source.code.contains("&'f str") && source.code.lines().count() == 2);
}
