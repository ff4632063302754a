//! Reports: one file with what runs have measured, for a browser and for papers.

mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// A cache folder of the tests' own: none may write to the user's.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(folder: &Path, args: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    let output = command.env("SSE_SAM_CACHE", CACHE).args(args).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[track_caller]
fn done(folder: &Path, args: &[&str]) -> Outcome {
    let outcome = run(folder, args);
    assert_eq!(outcome.code, 0, "{args:?}\n{}", outcome.stderr);
    outcome
}

const SMALL: [&str; 10] =
    ["--model", "mlp:64-8-10", "--epochs", "4", "--validation", "0.2", "--device", "cpu", "--quiet", "--lr=0.05"];

/// A folder with a comparison `all` of two methods and two seeds, made once for all tests, which only read it.
fn comparison() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = tempdir().unwrap();
        let lists = ["compare", "--out", "all", "--methods", "sgd,sse-sam", "--seeds", "2", "--spectrum-at", "1,last"];
        done(folder.path(), &[&lists[..], &SMALL[..]].concat());
        folder
    });
    folder.path()
}

/// A copy of the comparison.
fn copied() -> TempDir {
    let folder = tempdir().unwrap();
    let status = Command::new("cp").arg("-r").arg(comparison().join("all")).arg(folder.path()).status().unwrap();
    assert!(status.success());
    folder
}

fn page(folder: &Path, args: &[&str]) -> String {
    done(folder, &[&["report", "--out", "page.html"], args].concat());
    fs::read_to_string(folder.join("page.html")).unwrap()
}

/// What a page says in its tables' cells, table by table, row by row.
fn tables(page: &str) -> Vec<Vec<Vec<String>>> {
    let between = |text: &str, tag: &str| -> Vec<String> {
        let (begin, end) = (format!("<{tag}"), format!("</{tag}>"));
        let inner = text.split(&begin).skip(1).filter_map(|part| part.split_once('>'));
        inner.filter_map(|(_, rest)| Some(rest.split_once(&end)?.0.to_owned())).collect()
    };
    let row = |row: &String| [between(row, "th"), between(row, "td")].concat();
    between(page, "table").iter().map(|table| between(table, "tr").iter().map(row).collect()).collect()
}

fn json(folder: &Path) -> Value {
    serde_json::from_str(&done(folder, &["compare", "all", "--format", "json"]).stdout).unwrap()
}

#[test]
fn every_number_of_the_tables_is_that_of_the_comparison() {
    let (folder, page_folder) = (comparison(), copied());
    let page = page(page_folder.path(), &["all"]);
    let json = json(folder);
    let tables = tables(&page);
    let measures: Vec<&str> =
        json["measures"].as_array().unwrap().iter().map(|measure| measure.as_str().unwrap()).collect();
    let mut cells = 0;
    for (number, arm) in json["arms"].as_array().unwrap().iter().enumerate() {
        for (which, selection) in ["last", "chosen"].into_iter().enumerate() {
            let row = &tables[0][1 + 2 * number + which];
            assert_eq!(row[0], arm["label"].as_str().unwrap());
            for (cell, measure) in row[3..].iter().zip(&measures) {
                let of = |key: &str| arm[selection][measure][key].as_f64().unwrap();
                assert_eq!(cell, &format!("{:.2} ± {:.2}", of("mean"), of("deviation")), "{selection} {measure}");
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 4 * measures.len());
    assert!(measures.len() >= 7, "{measures:?}");
    // And the comparison itself stands in the page, whole.
    let inside = page.split_once("id=\"comparison\">").unwrap().1.split_once("</script>").unwrap().0;
    assert_eq!(serde_json::from_str::<Value>(inside).unwrap(), json);
}

#[test]
fn curves_have_the_numbers_of_the_runs_and_the_switch_is_marked() {
    let folder = copied();
    let page = page(folder.path(), &["all"]);
    let chart = |title: &str| {
        let start = page.find(&format!("<title>{title}</title>")).unwrap_or_else(|| panic!("no chart {title}"));
        page[start..].split_once("</svg>").unwrap().0.to_owned()
    };
    let lines = |run: &str| -> Vec<Value> {
        let text = fs::read_to_string(folder.path().join("all").join(run).join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let runs = ["sse-sam-ce-seed0", "sse-sam-ce-seed1"].map(lines);
    for (title, number) in [
        (
            "Balanced accuracy on the test set",
            &(|line: &Value| line["accuracy"]["balanced"].as_f64()) as &dyn Fn(&Value) -> Option<f64>,
        ),
        ("Few-shot classes", &|line| line["accuracy"]["few"].as_f64()),
        ("Balanced accuracy on the validation set", &|line| line["validation"]["balanced"].as_f64()),
        ("The tail&#39;s share of the training loss", &|line| line["loss_tail"].as_f64()),
    ] {
        let title = title.replace("&#39;", "'");
        let chart = chart(&title);
        let series = chart.split_once("data-name=\"sse-sam\"").unwrap().1;
        let points = series.split_once("data-p=\"").unwrap().1.split_once('"').unwrap().0;
        let found: Vec<f64> =
            points.split(',').map(|point| point.split_once(' ').unwrap().1.parse().unwrap()).collect();
        assert_eq!(found.len(), 4, "{title}");
        for (epoch, found) in found.into_iter().enumerate() {
            let mean = runs.iter().map(|lines| number(&lines[epoch]).unwrap()).sum::<f64>() / 2.0;
            assert!((found - mean).abs() <= 1e-4 * mean.abs(), "{title}, epoch {epoch}: {found} is not {mean}");
        }
        assert!(chart.contains("stage 2 of sse-sam"), "{title}");
    }
    assert!(
        !page.contains("data-name=\"sgd\"><path class=\"line0\" d=\"\" data-p=\"\""),
        "sgd has no groups, and no empty line"
    );
    for section in ["results", "epochs", "classes", "confusion", "spectra", "settings", "runs"] {
        assert!(
            page.contains(&format!("<h2 id=\"{section}\">")) && page.contains(&format!("href=\"#{section}\"")),
            "{section}"
        );
    }
}

#[test]
fn confusion_adds_up_and_classes_stand_at_their_sizes() {
    let folder = copied();
    let page = page(folder.path(), &["all"]);
    let squares: Vec<_> = tables(&page).into_iter().filter(|table| table.len() == 11 && table[1].len() == 11).collect();
    assert_eq!(squares.len(), 2, "one for each arm");
    for (square, arm) in squares.iter().zip(["sgd", "sse-sam"]) {
        let mut evaluations = (0..2).map(|seed| -> Value {
            let path = folder.path().join(format!("all/{arm}-ce-seed{seed}/evaluation.json"));
            serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
        });
        let (first, second) = (evaluations.next().unwrap(), evaluations.next().unwrap());
        for (class, row) in square[1..].iter().enumerate() {
            let cells: Vec<f64> = row[1..].iter().map(|cell| cell.parse().unwrap_or(0.0)).collect();
            assert!((cells.iter().sum::<f64>() - 100.0).abs() < 0.6, "{row:?}");
            let accuracy = |evaluation: &Value| evaluation["classes"][class]["accuracy"].as_f64().unwrap();
            let mean = accuracy(&first).midpoint(accuracy(&second));
            assert!((cells[class] - mean).abs() < 0.051, "{arm}, class {class}: {} is not {mean}", cells[class]);
        }
    }
    let chart = page.split_once("<title>Accuracy by class size</title>").unwrap().1.split_once("</svg>").unwrap().0;
    let points = chart.split_once("data-p=\"").unwrap().1.split_once('"').unwrap().0;
    let sizes: Vec<&str> = points.split(',').map(|point| point.split_once(' ').unwrap().0).collect();
    assert_eq!(sizes, ["7", "11", "17", "27", "42", "66", "102", "157", "243", "376"]);
}

#[test]
fn a_run_that_is_not_through_is_drawn_as_far_as_it_got_and_marked() {
    let folder = copied();
    let run = folder.path().join("all/sse-sam-ce-seed1");
    let cut = |name: &str, lines: usize| {
        let text = fs::read_to_string(run.join(name)).unwrap();
        let kept: String = text.split_inclusive('\n').take(lines).collect();
        fs::write(run.join(name), kept).unwrap();
    };
    cut("metrics.jsonl", 2);
    cut("log.txt", 1);
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let page = page(folder.path(), &["all"]);
    assert!(page.contains("data-name=\"sse-sam, seed 1 (not through)\""));
    assert!(page.contains("unfinished: 2 of 4 epochs"), "the table says so");
    let row = &tables(&page)[0][3];
    assert_eq!((row[0].as_str(), row[2].as_str()), ("sse-sam", "1"), "{row:?}");
}

/// Copies of runs under other seeds.
fn many(folder: &Path, seeds: u64) {
    for arm in ["sgd-ce", "sse-sam-ce"] {
        for seed in 2..seeds {
            let (from, to) = (folder.join(format!("all/{arm}-seed0")), folder.join(format!("all/{arm}-seed{seed}")));
            assert!(Command::new("cp").arg("-r").args([&from, &to]).status().unwrap().success());
            let config = fs::read_to_string(to.join("config.toml")).unwrap();
            fs::write(to.join("config.toml"), config.replace("seed = 0\n", &format!("seed = {seed}\n"))).unwrap();
        }
    }
}

#[test]
fn a_report_of_forty_runs_is_below_three_megabytes() {
    let folder = copied();
    many(folder.path(), 20);
    let page = page(folder.path(), &["all"]);
    assert!(page.contains("<p class=\"soft\">40 runs · "), "{}", &page[..3000]);
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    // Nothing is loaded from anywhere.
    for word in ["http://", "https://", "src=", "@import", "url("] {
        let without = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!without.contains(word), "{word}");
    }
}

#[test]
fn charts_are_files_of_their_own_for_papers() {
    let folder = copied();
    let outcome = done(folder.path(), &["report", "all", "--format", "svg", "--out", "charts"]);
    let names: Vec<PathBuf> = outcome.stdout.lines().map(|line| folder.path().join(line)).collect();
    assert!(names.len() >= 9, "{}", outcome.stdout);
    for path in names {
        let svg = fs::read_to_string(&path).unwrap();
        assert!(
            svg.starts_with("<svg xmlns=") && svg.contains("<style>") && svg.ends_with("</svg>\n"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_cannot_be_reported_is_said() {
    let folder = copied();
    let refused = |args: &[&str], code: i32, sentence: &str| {
        let outcome = run(folder.path(), args);
        assert_eq!(outcome.code, code, "{args:?}\n{}", outcome.stderr);
        assert!(
            outcome.stderr.contains(sentence) && !outcome.stderr.contains("panicked"),
            "{args:?}: {}",
            outcome.stderr
        );
    };
    fs::write(folder.path().join("notes.html"), "<html>mine</html>").unwrap();
    refused(&["report", "all", "--out", "notes.html"], 2, "notes.html is no report of ours and stays as it is");
    assert_eq!(fs::read_to_string(folder.path().join("notes.html")).unwrap(), "<html>mine</html>");
    refused(&["report"], 2, "<RUN>");
    refused(&["report", "gone"], 1, "gone: ");
    fs::create_dir(folder.path().join("empty")).unwrap();
    refused(&["report", "empty"], 1, "holds no runs");
    refused(&["report", "all", "--baseline", "sdg"], 2, "the nearest name is \"sgd\"");
    // A report is written over, and lies beside its runs where nothing else is said.
    done(folder.path(), &["report", "all"]);
    done(folder.path(), &["report", "all"]);
    assert!(folder.path().join("all/report.html").exists());
    let one = page(folder.path(), &["all/sgd-ce-seed0"]);
    assert!(one.contains("<p class=\"soft\">one run · "));
}
