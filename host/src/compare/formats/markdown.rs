//! Tables of Markdown.

use crate::compare::comparison::Comparison;
use crate::compare::table::{self, Table};

/// All tables of a comparison, and what they say.
pub fn print(comparison: &Comparison) -> String {
    let mut parts = vec![titled(&table::caption(comparison), &table::means(comparison))];
    parts.extend(table::left_out(comparison).map(|rows| lines(&rows)));
    parts.extend(table::differences(comparison).map(|rows| titled(&table::paired_caption(comparison), &rows)));
    for (title, sentences) in comparison.sentences() {
        let list: String = sentences.iter().map(|sentence| format!("- {}\n", escaped(sentence))).collect();
        parts.push(if list.is_empty() { format!("{title}\n") } else { format!("{title}\n\n{list}") });
    }
    parts.push(titled("Cost", &table::costs(comparison)));
    parts.extend(table::partial(comparison).map(|text| format!("{}\n", escaped(text))));
    parts.join("\n")
}

fn titled(title: &str, table: &Table) -> String {
    format!("{}:\n\n{}", escaped(title), lines(table))
}

fn lines(table: &Table) -> String {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = |column: usize| if column < table.words { "---" } else { "--:" };
    let rules: Vec<&str> = (0..table.head.len()).map(rule).collect();
    let rows: String = table.rows.iter().map(|cells| row(cells)).collect();
    format!("{}|{}|\n{rows}", row(&table.head), rules.join("|"))
}

/// Letters that Markdown would take for marks.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\`*_[]<>|#".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_in_a_cell_are_escaped() {
        let table = Table { words: 1, head: vec!["a".into(), "b".into()], rows: vec![vec!["x|_y".into(), "1".into()]] };
        assert_eq!(lines(&table), "| a | b |\n|---|--:|\n| x\\|\\_y | 1 |\n");
    }
}
