//! A `tabular` with the rules of the package booktabs.

use crate::compare::comparison::Comparison;
use crate::compare::table::{self, Table};

/// The tables of a comparison; what they say stands in comments.
pub fn print(comparison: &Comparison) -> String {
    let mut parts = vec!["% needs \\usepackage{booktabs}\n".to_owned()];
    parts.push(format!("% {}\n{}", table::caption(comparison), tabular(&table::means(comparison))));
    if let Some(rows) = table::left_out(comparison) {
        parts.push(format!("% These runs are in no mean.\n{}", tabular(&rows)));
    }
    if let Some(rows) = table::differences(comparison) {
        parts.push(format!("% {}\n{}", table::paired_caption(comparison), tabular(&rows)));
    }
    for (title, sentences) in comparison.sentences() {
        parts.push(std::iter::once(&title).chain(&sentences).map(|line| format!("% {line}\n")).collect());
    }
    parts.push(tabular(&table::costs(comparison)));
    parts.extend(table::partial(comparison).map(|text| format!("% {text}\n")));
    parts.join("\n")
}

fn tabular(table: &Table) -> String {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
        format!("{} \\\\\n", cells.join(" & "))
    };
    let columns = "l".repeat(table.words) + &"r".repeat(table.head.len() - table.words);
    let rows: String = table.rows.iter().map(|cells| row(cells)).collect();
    format!(
        "\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n",
        row(&table.head)
    )
}

/// Letters that TeX would take for commands; the minus of a number is none of its hyphens.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let (mut before, mut letters) = (' ', text.chars().peekable());
    while let Some(letter) = letters.next() {
        let is_minus = " (".contains(before) && letters.peek().is_some_and(char::is_ascii_digit);
        match letter {
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '±' => escaped.push_str("$\\pm$"),
            '-' if is_minus => escaped.push_str("$-$"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', letter]),
            '<' | '>' | '|' => escaped.extend(['$', letter, '$']),
            other => escaped.push(other),
        }
        before = letter;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tex_reads_as_commands_is_escaped() {
        assert_eq!(escaped("a_b & 5 % \\ {x}"), "a\\_b \\& 5 \\% \\textbackslash{} \\{x\\}");
        assert_eq!(escaped("1.00 ± 0.10"), "1.00 $\\pm$ 0.10");
        assert_eq!(escaped("-0.30 (-1.00 to +0.40)"), "$-$0.30 ($-$1.00 to +0.40)");
        assert_eq!([escaped("-"), escaped("sse-sam")], ["-", "sse-sam"]);
    }

    #[test]
    fn words_stand_left_and_numbers_right() {
        let table = Table { words: 1, head: vec!["a".into(), "b".into()], rows: vec![vec!["x".into(), "1".into()]] };
        let expected =
            "\\begin{tabular}{lr}\n\\toprule\na & b \\\\\n\\midrule\nx & 1 \\\\\n\\bottomrule\n\\end{tabular}\n";
        assert_eq!(tabular(&table), expected);
    }
}
