//! Text from elsewhere, such as tags and EC2's messages, without what a reader or a terminal would obey.

/// The text with a question mark for each control character and for each that turns a line around or cannot
/// be seen. Line breaks and tabs count as control characters: the result is one line.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_invisible(c) { '?' } else { c }).collect()
}

/// Whether the character turns a line around, or cannot be seen and is no space.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_what_to_do_by_others() {
        assert_eq!(plain("a\u{1b}[31mb\u{202e}c\n"), "a?[31mb?c?");
        assert_eq!(plain("\u{9b}2J\u{200b}\u{feff}\u{2066}\t\r\u{e0041}"), "?2J??????");
    }

    #[test]
    fn letters_of_any_script_stay() {
        let text = "Zürich 東京 עברית 🙂 <b>";
        assert_eq!(plain(text), text);
    }
}
