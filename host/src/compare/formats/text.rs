//! Aligned tables and sentences, for people.

use crate::compare::comparison::Comparison;
use crate::compare::table::{self, Table};

/// All tables of a comparison, and what they say.
pub fn print(comparison: &Comparison) -> String {
    let mut parts = vec![titled(&table::caption(comparison), &table::means(comparison))];
    if let Some(rows) = table::left_out(comparison) {
        parts.push(aligned(&rows));
    }
    if let Some(rows) = table::differences(comparison) {
        parts.push(titled(&table::paired_caption(comparison), &rows));
    }
    let told = |(title, sentences): (String, Vec<String>)| {
        let lines = sentences.iter().map(|sentence| format!("  {sentence}\n"));
        format!("{title}\n{}", lines.collect::<String>())
    };
    parts.extend(comparison.sentences().into_iter().map(told));
    let partial = table::partial(comparison).map(|text| format!("{text}\n")).unwrap_or_default();
    parts.push(titled("Cost", &table::costs(comparison)) + &partial);
    parts.join("\n")
}

fn titled(title: &str, table: &Table) -> String {
    format!("{title}\n\n{}", aligned(table))
}

/// Columns as wide as their widest cell: words to the left, numbers to the right.
fn aligned(table: &Table) -> String {
    let rows: Vec<&Vec<String>> = std::iter::once(&table.head).chain(&table.rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    let cell = |(column, cell): (usize, &String)| {
        let width = widths[column];
        if column < table.words { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    };
    let line = |row: &Vec<String>| {
        let line = row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    rows.into_iter().map(line).collect()
}
