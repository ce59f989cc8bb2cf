//! Numbers of things, as people read them.

use std::fmt::Display;

/// `1 instance`, `2 instances`: the plural is the word with an `s`.
pub(crate) fn counted<N: Copy + Display + PartialEq + From<u8>>(number: N, what: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let told = [counted(0_u32, "build"), counted(1_usize, "spot instance"), counted(2_usize, "spot instance")];
        assert_eq!(told, ["0 builds", "1 spot instance", "2 spot instances"]);
    }
}
