//! Pieces of a page.

use std::fmt::Write as _;

use crate::compare::table::Table;

/// A part of a page under a title.
#[derive(Debug)]
pub struct Section {
    /// What links name it by.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// HTML.
    pub body: String,
}

impl Section {
    /// A part with this body.
    pub fn new(id: &'static str, title: &'static str, body: String) -> Self {
        Self { id, title, body }
    }
}

/// Text as HTML takes it, in and out of attributes.
pub fn escaped(text: &str) -> String {
    crate::shown::shown(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A paragraph of this class, of none where that is empty.
pub fn paragraph(class: &str, text: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<p{class}>{}</p>\n", escaped(text))
}

/// A table that a narrow page scrolls.
pub fn rows(table: &Table) -> String {
    let class = |column: usize| if column < table.words { " class=\"word\"" } else { "" };
    let cells = |tag: &str, cells: &[String]| -> String {
        let cell = |(column, cell): (usize, &String)| format!("<{tag}{}>{}</{tag}>", class(column), escaped(cell));
        cells.iter().enumerate().map(cell).collect()
    };
    let mut html =
        format!("<div class=\"wide\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n", cells("th", &table.head));
    for row in &table.rows {
        let _ = writeln!(html, "<tr>{}</tr>", cells("td", row));
    }
    html + "</tbody>\n</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_no_tags() {
        assert_eq!(escaped("a<b & \"c\">"), "a&lt;b &amp; &quot;c&quot;&gt;");
        assert_eq!(paragraph("soft", "1 < 2"), "<p class=\"soft\">1 &lt; 2</p>\n");
        let table = Table { words: 1, head: vec!["<".into(), "n".into()], rows: vec![vec!["x".into(), "1".into()]] };
        assert_eq!(
            rows(&table),
            "<div class=\"wide\"><table>\n<thead><tr><th class=\"word\">&lt;</th><th>n</th></tr></thead>\n<tbody>\n\
             <tr><td class=\"word\">x</td><td>1</td></tr>\n</tbody>\n</table></div>\n"
        );
    }
}
