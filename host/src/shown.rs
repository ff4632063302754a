//! Names from outside, as they are shown to people: nothing in them may break a line, a table or a terminal.

use std::path::Path;

/// The text with every character that moves, hides, colours or reorders others written out: an escape is `\u{1b}`, the
/// end of a line `\n`.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_control(letter) { shown.extend(letter.escape_default()) } else { shown.push(letter) }
    }
    shown
}

/// Begins a line of what another program says, a compiler's log: the only end of a line that [`sentence`] keeps. Such a
/// line cannot be taken for one of ours.
pub const QUOTED: &str = "\n  | ";

/// A sentence in the same way, whose quoted lines stay lines.
pub fn sentence(text: &str) -> String {
    text.split(QUOTED).map(shown).collect::<Vec<_>>().join(QUOTED)
}

/// A path in the same way; what is not UTF-8 becomes U+FFFD.
pub fn path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// A path as a word that a shell takes: quoted where it has to be.
pub fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+=:,@%~".contains(letter);
    let text = if text.starts_with('-') { format!("./{text}") } else { text.into_owned() };
    if text.chars().all(plain) && !text.is_empty() { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// `1 picture`, `2 pictures`.
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// `1 run`, `2 runs`.
pub fn runs(count: usize) -> String {
    counted(count, "run")
}

/// Control characters, the ends of lines and paragraphs, and the marks that reorder a line.
fn is_control(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminals_cursor_is_written_out() {
        assert_eq!(shown("a\x1b[31mred\n\r\t\u{7f}\u{9b}"), r"a\u{1b}[31mred\n\r\t\u{7f}\u{9b}");
        assert_eq!(shown("\u{202e}gnp.exe\u{2028}"), r"\u{202e}gnp.exe\u{2028}");
    }

    #[test]
    fn a_word_can_be_pasted_into_a_shell() {
        let words = ["runs/a-b_2", "my run", "-y", "it's", "été"].map(|text| word(Path::new(text)));
        assert_eq!(words, ["runs/a-b_2", "'my run'", "./-y", r"'it'\''s'", "été"]);
    }

    #[test]
    fn quoted_lines_stay_lines_and_no_other_does() {
        assert_eq!(sentence("a\nb:\n  | c\td\n  | e"), "a\\nb:\n  | c\\td\n  | e");
    }

    #[test]
    fn names_in_every_script_stay_as_they_are() {
        for name in ["paper", "été", "дата", "图片", "class one", "a\\b", "'\"", "👍🏽"] {
            assert_eq!(shown(name), name);
        }
    }
}
