//! A report on runs: one HTML file with tables and charts, which needs neither network nor server.

mod charts;
mod classes;
mod html;
mod spectra;

use std::fmt::Write as _;
use std::path::Path;

use crate::compare::Comparison;
use crate::compare::formats::Format;
use crate::compare::group::text;
use crate::compare::read::Run;
use crate::compare::table::{self, Table};
use crate::error::Error;
use crate::report::chart::{self, Chart};
use crate::run::origin::PROGRAM;

use html::{Section, escaped, paragraph, rows};

/// What a report's file begins with.
pub const BEGINNING: &str = "<!doctype html>\n<!-- a report of sse-sam -->\n";

/// What runs have measured, ready to be printed.
#[derive(Debug)]
pub struct Page<'a> {
    comparison: &'a Comparison,
    title: String,
    evaluated: classes::Evaluated,
    spectra: spectra::Spectra,
}

impl<'a> Page<'a> {
    /// Reads what the runs of a comparison have beside their metrics.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] for files of runs that cannot be read.
    pub fn new(comparison: &'a Comparison) -> Result<Self, Error> {
        let evaluated = classes::Evaluated::read(comparison)?;
        let spectra = spectra::Spectra::read(comparison)?;
        Ok(Self { comparison, title: title(comparison), evaluated, spectra })
    }

    /// Its charts, each with a name that is fit for a file.
    pub fn charts(&self) -> Vec<(String, Chart)> {
        let mut all = charts::over_epochs(self.comparison);
        all.extend(self.evaluated.chart(self.comparison));
        all.extend(self.spectra.charts(self.comparison));
        all
    }

    /// The whole file.
    pub fn html(&self) -> String {
        let sections = self.sections();
        let links = sections.iter().map(|section| format!("<a href=\"#{}\">{}</a>", section.id, section.title));
        let mut page = format!(
            "{BEGINNING}<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n<style>\n{1}</style>\n{2}</head>\n<body>\n<h1>{0}</h1>\n{3}<nav>{4}</nav>\n",
            escaped(&self.title),
            include_str!("style.css"),
            chart::style(),
            paragraph("soft", &self.subtitle()),
            links.collect::<Vec<_>>().join("\n"),
        );
        for section in &sections {
            let _ = write!(
                page,
                "<section>\n<h2 id=\"{}\">{}</h2>\n{}</section>\n",
                section.id, section.title, section.body
            );
        }
        // No tag and no comment begins in it.
        let data = Format::Json.print(self.comparison).replace('<', "\\u003c");
        let _ = write!(
            page,
            "<div id=\"tip\" hidden></div>\n<script type=\"application/json\" id=\"comparison\">\n{data}</script>\n\
             <script>\n{}</script>\n</body>\n</html>\n",
            include_str!("script.js")
        );
        page
    }

    fn subtitle(&self) -> String {
        let runs = &self.comparison.runs;
        let common = &self.comparison.groups.common;
        let word = |key: &str| common.get(key).map(text);
        let parts = [
            Some(if runs.len() == 1 { "one run".into() } else { format!("{} runs", runs.len()) }),
            word("model"),
            word("epochs").map(|epochs| format!("{epochs} epochs")),
            Some(PROGRAM.into()),
        ];
        parts.into_iter().flatten().collect::<Vec<String>>().join(" · ")
    }

    fn sections(&self) -> Vec<Section> {
        let grid = |charts: &[(String, Chart)]| {
            let drawn: String = charts.iter().map(|(_, chart)| format!("<div>\n{}</div>\n", chart.inline())).collect();
            format!("<div class=\"charts\">\n{drawn}</div>\n")
        };
        let curves = charts::over_epochs(self.comparison);
        let mut sections = vec![Section::new("results", "Results", self.results())];
        if !curves.is_empty() {
            sections.push(Section::new("epochs", "Over the epochs", paragraph("soft", charts::ABOUT) + &grid(&curves)));
        }
        let by_size: Vec<_> = self.evaluated.chart(self.comparison).into_iter().collect();
        let about = self.evaluated.about(self.comparison);
        let gains = self.evaluated.gains(self.comparison);
        let drawn = if by_size.is_empty() { String::new() } else { grid(&by_size) };
        sections.push(Section::new("classes", "Classes", paragraph("soft", &about) + &drawn + &gains));
        if !self.evaluated.is_empty() {
            sections.push(Section::new("confusion", "Confusion", self.evaluated.confusion(self.comparison)));
        }
        if !self.spectra.is_empty() {
            let body = grid(&self.spectra.charts(self.comparison)) + &self.spectra.table(self.comparison);
            sections.push(Section::new("spectra", "Spectra", paragraph("soft", spectra::ABOUT) + &body));
        }
        sections.push(Section::new("settings", "Settings", self.settings()));
        sections.push(Section::new("runs", "Runs", self.runs()));
        sections
    }

    fn results(&self) -> String {
        let comparison = self.comparison;
        let mut body = paragraph("", &format!("{}.", table::caption(comparison))) + &rows(&table::means(comparison));
        if let Some(left) = table::left_out(comparison) {
            body += &rows(&left);
        }
        if let Some(differences) = table::differences(comparison) {
            body += &paragraph("", &format!("{}.", table::paired_caption(comparison)));
            body += &rows(&differences);
        }
        for (about, told) in comparison.sentences() {
            body += &paragraph("", &about);
            if !told.is_empty() {
                let items: String = told.iter().map(|sentence| format!("<li>{}</li>\n", escaped(sentence))).collect();
                let _ = write!(body, "<ul>\n{items}</ul>\n");
            }
        }
        body += "<h3>Cost</h3>\n";
        body += &rows(&table::costs(comparison));
        table::partial(comparison).into_iter().for_each(|text| body += &paragraph("soft", text));
        body
    }

    fn settings(&self) -> String {
        let pairs = |settings: &toml::Table| -> Vec<Vec<String>> {
            settings.iter().map(|(key, value)| vec![key.clone(), text(value)]).collect()
        };
        let table = |rows: Vec<Vec<String>>| Table { words: 2, head: vec!["setting".into(), "value".into()], rows };
        let mut body = String::new();
        for arm in self.comparison.arms().iter().filter(|arm| !arm.settings.is_empty()) {
            let _ = write!(body, "<h3>{}</h3>\n{}", escaped(&arm.label), rows(&table(pairs(&arm.settings))));
        }
        let title = if body.is_empty() { "" } else { "<h3>All runs</h3>\n" };
        body + title + &rows(&table(pairs(&self.comparison.groups.common)))
    }

    fn runs(&self) -> String {
        let head = ["run", "arm", "seed", "state", "epochs", "seconds", "device", "program", "data", "fingerprint"]
            .map(String::from)
            .into();
        let row = |label: &str, run: &Run| {
            vec![
                run.name.clone(),
                label.to_owned(),
                run.seed.to_string(),
                run.state.word().to_owned(),
                format!("{} of {}", run.lines.len(), run.epochs),
                format!("{:.1}", run.cost.total()),
                run.origin.device.clone(),
                run.origin.program.clone(),
                data(run),
                run.origin.fingerprint.clone(),
            ]
        };
        let arms = self.comparison.arms().iter().enumerate();
        let all = arms.flat_map(|(arm, known)| {
            self.comparison.runs_of(arm).map(|run| row(&known.label, run)).collect::<Vec<_>>()
        });
        rows(&Table { words: 10, head, rows: all.collect() })
    }
}

/// What the data of a run are called.
fn data(run: &Run) -> String {
    let place = run.settings.get("data").map(text).unwrap_or_default();
    Path::new(&place).file_name().map_or_else(|| place.clone(), |name| name.to_string_lossy().into_owned())
}

/// What a report is about: the data, and the arms where there are few.
fn title(comparison: &Comparison) -> String {
    let mut places: Vec<String> = comparison.runs.iter().map(data).collect();
    places.sort();
    places.dedup();
    let data = places.join(", ");
    let labels: Vec<&str> = comparison.arms().iter().map(|arm| arm.label.as_str()).collect();
    if labels.len() > 6 { format!("{data}: {} arms", labels.len()) } else { format!("{data}: {}", labels.join(", ")) }
}
