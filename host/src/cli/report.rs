//! The `report` command.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::args::{ReportArgs, ReportFormat};
use crate::compare::Comparison;
use crate::error::Error;
use crate::files::write_whole;
use crate::page::{BEGINNING, Page};
use crate::report::console::{Console, say};
use crate::shown;

/// The `report` command: runs as one HTML file, or their charts as SVG.
///
/// # Errors
/// What is wrong with the runs, or with where the report is to lie.
pub fn run(args: &ReportArgs, console: &Console) -> Result<(), Error> {
    let differs = (!args.different_data).then_some(&[][..]);
    let comparison = Comparison::read(&args.runs, differs, args.baseline.as_deref(), console)?;
    let page = Page::new(&comparison)?;
    match args.format {
        ReportFormat::Html => {
            let path = args.out.clone().unwrap_or_else(|| usual(&args.runs));
            is_free(&path)?;
            write_whole(&path, |file| file.write_all(page.html().as_bytes()))?;
            say(&format!("{} in {}", shown::runs(comparison.runs.len()), shown::path(&path)))
        }
        ReportFormat::Svg => {
            let folder = args.out.clone().unwrap_or_else(|| PathBuf::from("charts"));
            fs::create_dir_all(&folder).map_err(|source| Error::io(&folder, source))?;
            for (name, chart) in page.charts() {
                let path = folder.join(format!("{name}.svg"));
                is_free(&path)?;
                write_whole(&path, |file| file.write_all(chart.svg().as_bytes()))?;
                say(&shown::path(&path))?;
            }
            Ok(())
        }
    }
}

/// What a chart's file begins with.
const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\"";

/// Beside the runs where one folder was named, else here.
fn usual(runs: &[PathBuf]) -> PathBuf {
    match runs {
        [one] if one.is_dir() => one.join("report.html"),
        _ => PathBuf::from("report.html"),
    }
}

/// Refuses to write over what is no report.
fn is_free(path: &Path) -> Result<(), Error> {
    match fs::read(path) {
        Ok(before) if ![BEGINNING, SVG].iter().any(|ours| before.starts_with(ours.as_bytes())) => {
            let message =
                format!("{} is no report of ours and stays as it is: --out names another file", shown::path(path));
            Err(Error::Usage(message))
        }
        _ => Ok(()),
    }
}
