//! Places in a configuration: of what holds, and of what is wrong and what to do about it.

use std::fmt;

/// A place in a file, or in what a master declared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file, as it was named; or the master and the worker.
    pub file: String,
    /// Its line, from 1; 0 where there are no lines.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value that holds, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The key with its table.
    pub key: String,
    /// The value as it is written.
    pub value: String,
    /// Where.
    pub at: Origin,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub at: Origin,
    /// Which key, with its table.
    pub key: String,
    /// What it says, if it says something.
    pub value: Option<String>,
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub cure: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}; {}", self.message, self.cure)
    }
}

/// Everything that is wrong, in the order of files and lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// The problems, sorted by place and without repetition.
    pub fn sorted(mut self) -> Vec<Problem> {
        self.0.sort();
        // A layer that several tables share is read, and complained of, once for each: the fullest key is kept.
        self.0.dedup_by(|later, kept| {
            let last = |key: &str| key.rsplit('.').next().map(ToOwned::to_owned);
            let same = later.at == kept.at && later.message == kept.message && last(&later.key) == last(&kept.key);
            if same && later.key.len() > kept.key.len() {
                std::mem::swap(later, kept);
            }
            same
        });
        self.0
    }

    /// Takes in others, whose keys stand in a table of this name.
    pub(super) fn extend_below(&mut self, table: &str, others: Problems) {
        self.0
            .extend(others.0.into_iter().map(|problem| Problem { key: format!("{table}.{}", problem.key), ..problem }));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.clone().sorted().iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
