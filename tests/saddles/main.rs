//! The study's analysis: against least squares by normal equations, on numbers that are made up, and the tables of README.md
//! against the lines that they were made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sse_sam_tests::random::Numbers;

const METHODS: [&str; 4] = ["sgd", "sam", "imbsam", "sse-sam"];
const SEEDS: usize = 6;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("saddles").join(name)
}

/// What awk prints; None, and a word of it, where there is no awk.
fn awk(args: &[&str], script: &Path, file: &Path) -> Option<String> {
    let Ok(output) = Command::new("awk").args(args).arg("-f").arg(script).arg(file).output() else {
        eprintln!("skipped: there is no awk");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

/// The least-squares solution of `rows x = y`, and its covariance, by normal equations.
fn least_squares(rows: &[[f64; 5]], y: &[f64]) -> ([f64; 5], [[f64; 5]; 5]) {
    let mut system = [[0.0; 11]; 5];
    for (at, line) in system.iter_mut().enumerate() {
        for (row, y) in rows.iter().zip(y) {
            (0..5).for_each(|other| line[other] += row[at] * row[other]);
            line[5] += row[at] * y;
        }
        line[6 + at] = 1.0;
    }
    for at in 0..5 {
        let line = system[at].map(|entry| entry / system[at][at]);
        system[at] = line;
        for other in (0..5).filter(|&other| other != at) {
            let factor = system[other][at];
            system[other].iter_mut().zip(line).for_each(|(entry, own)| *entry -= factor * own);
        }
    }
    let solution = system.map(|line| line[5]);
    let error = |(row, y): (&[f64; 5], &f64)| (y - row.iter().zip(solution).map(|(a, b)| a * b).sum::<f64>()).powi(2);
    let variance = rows.iter().zip(y).map(error).sum::<f64>() / (rows.len() - 5) as f64;
    (solution, system.map(|line| std::array::from_fn(|at| variance * line[6 + at])))
}

/// The cells of the line of the report that begins with these cells.
fn cells<'a>(report: &'a str, part: usize, first: &[&str]) -> Vec<&'a str> {
    let lines = report.lines().map(|line| line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect());
    lines.filter(|cells: &Vec<&str>| cells.starts_with(first)).nth(part).unwrap()
}

#[test]
fn differences_at_equal_miss_are_those_of_least_squares() {
    let mut numbers = Numbers::named("saddles");
    let (mut text, mut rows, mut y, mut lowest) = (String::new(), Vec::new(), Vec::new(), [[0.0; SEEDS]; 4]);
    for (at, method) in METHODS.iter().enumerate() {
        for (seed, lowest) in lowest[at].iter_mut().enumerate() {
            let mut draw = || f64::from(numbers.list_between(1, -1.0, 1.0)[0]);
            let x = -3.0 + draw() - 0.3 * at as f64;
            let value = 0.8 * x - 0.1 * at as f64 + 0.2 * draw();
            let (miss, lambda) = (x.exp(), -value.exp());
            *lowest = lambda;
            rows.push(std::array::from_fn(|column| match column {
                4 => x,
                column => f64::from(u8::from(column == at)),
            }));
            y.push(value);
            let numbers =
                format!("104 80 60 1 {miss:.15e} 1 2 0 {lambda:.15e} 0 0.1 0.2 0.3 0.4 1 0.5").replace(' ', "\t");
            text += &format!("net\t{method}\t{seed}\t29\ttail\t{numbers}\n");
        }
    }
    let Some(report) = awk(&[], &script("report.awk"), &file("report.tsv", &text)) else { return };
    let (solution, covariance) = least_squares(&rows, &y);
    let number = |text: &str| text.parse::<f64>().unwrap();
    for (at, method) in METHODS[..3].iter().enumerate() {
        // Of the second table: the first one's lines begin with the same word for its own methods.
        let found = cells(&report, 1, &["tail", method]);
        let (difference, error) = found[6].split_once(" +- ").unwrap();
        let expected = solution[3] - solution[at];
        let deviation = (covariance[3][3] + covariance[at][at] - 2.0 * covariance[3][at]).sqrt();
        assert!((number(difference) - expected).abs() < 6e-4, "{report}\n{expected}");
        assert!((number(error) - deviation).abs() < 6e-4, "{report}\n{deviation}");
        assert!((number(found[7]) - expected / deviation).abs() < 0.06, "{report}");
        assert!((number(found[9]) - solution[4]).abs() < 6e-3, "{report}");
        let pairs: Vec<f64> = lowest[3].iter().zip(&lowest[at]).map(|(own, other)| own - other).collect();
        let mean = pairs.iter().sum::<f64>() / SEEDS as f64;
        let variance = pairs.iter().map(|pair| (pair - mean).powi(2)).sum::<f64>() / (SEEDS - 1) as f64;
        assert!((number(found[2]) / mean - 1.0).abs() < 6e-3, "{report}");
        assert_eq!(found[3], format!("{} of 6", pairs.iter().filter(|pair| **pair > 0.0).count()));
        assert!((number(found[4]) - mean / (variance / SEEDS as f64).sqrt()).abs() < 0.06, "{report}");
    }
}

#[test]
fn a_probability_is_that_of_students_t() {
    // Of tables: two-sided 5 % and 1 % points.
    let program = format!(
        "{}\nBEGIN {{ print probability(2.262157, 9), probability(-2.030108, 35), probability(2.779, 26), \
         probability(12.7062, 1) }}",
        fs::read_to_string(script("report.awk")).unwrap()
    );
    let Some(found) = awk(&[], &file("probability.awk", &program), &file("empty.tsv", "")) else { return };
    let found: Vec<f64> = found.split_whitespace().map(|word| word.parse().unwrap()).collect();
    for (found, expected) in found.into_iter().zip([0.05, 0.05, 0.01, 0.05]) {
        assert!((found / expected - 1.0).abs() < 1e-3, "{found}, {expected}");
    }
}

#[test]
fn a_line_of_a_spectrum_becomes_a_line_of_numbers() {
    let metrics = r#"{"epoch":4,"loss":9.5,"accuracy":{"overall":1,"per_class":[90,80,70,60,50,40,30,20,10,0]}}"#;
    let spectrum = r#"{"loss":"CrossEntropy","group":"tail","samples":7,"loss":0.25,"miss":1.5e-3,"gradient_norm":0.5,"lambda_max":{"value":3.5,"bound":0.001},"lambda_min":{"value":-0.75,"bound":0.002},"negative_mass":[{"below":0.01,"mean":0.125,"standard_error":null},{"below":0.001,"mean":0.375}],"gradient_along_lambda_min":0.0625,"drop":{"fall":0.01,"length":-2.5},"drop_gradient":{"fall":0.02,"length":-1}}"#;
    let args = ["-v", "model=net", "-v", "method=sam", "-v", "seed=3", "-v", "epoch=4"];
    let Some(found) = awk(&args, &script("lines.awk"), &file("line.jsonl", &format!("{metrics}\n{spectrum}\n"))) else {
        return;
    };
    let expected =
        "net sam 3 4 tail 7 45.00 20.00 0.25 0.0015 0.5 3.5 0.001 -0.75 0.002 0.125 0.375 0.0625 0.01 -2.5 0.02";
    assert_eq!(found.trim_end().split('\t').collect::<Vec<_>>(), expected.split(' ').collect::<Vec<_>>());
}

fn results(starts: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(script("results")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(starts)).collect();
    files.sort();
    files
}

/// The cells of every line of a table in a text.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |"));
    lines.map(|line| line.trim_matches(['|', ' ']).split(" | ").collect()).collect()
}

/// The rows of README.md below a heading of a table.
fn readme(heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(script("README.md")).unwrap();
    let below = text.split_once(heading).unwrap_or_else(|| panic!("no table {heading}")).1;
    let table: String =
        below.lines().skip(1).take_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
    rows(&table).into_iter().map(|row| row.into_iter().map(str::to_owned).collect()).collect()
}

/// Columns of a row, by their places.
fn columns<'a>(row: &[&'a str], places: &[usize]) -> Vec<&'a str> {
    places.iter().map(|&place| row[place]).collect()
}

#[test]
fn the_readmes_tables_are_those_of_the_lines_beside_it() {
    let text: String = results("mlp-64-32-10-").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let Some(report) = awk(&[], &script("report.awk"), &file("study.tsv", &text)) else { return };
    // What it says of an epoch, one part with means and one with differences.
    let part = |title: &str| report.split_once(title).unwrap().1.split("\n\n").nth(1).unwrap();
    let last = part("end of epoch 29 (from 0), 10 seeds");
    let found = readme("| group | method | loss |");
    let expected: Vec<Vec<&str>> = rows(last)
        .into_iter()
        .filter(|row| ["head", "tail", "all", "class9"].contains(&row[0]))
        .map(|row| columns(&row, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12]))
        .collect();
    assert_eq!((found.len(), found), (16, expected.into_iter().map(owned).collect()));
    let found = readme("| end of epoch | group |");
    let mut expected = Vec::new();
    for epoch in ["14", "17", "29"] {
        let differences = rows(part(&format!("end of epoch {epoch}: SSE-SAM minus")));
        for row in differences.into_iter().filter(|row| ["head", "tail"].contains(&row[0])) {
            expected.push(owned([&[epoch][..], &row[..9]].concat()));
        }
    }
    assert_eq!((found.len(), found), (18, expected));
}

fn owned(row: Vec<&str>) -> Vec<String> {
    row.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_readmes_steps_of_escape_are_those_of_the_lines_beside_it() {
    let [path] = &results("escape-")[..] else { panic!("one file of lines of escapes") };
    let Some(report) = awk(&[], &script("escape-report.awk"), path) else { return };
    let expected: Vec<Vec<String>> = rows(&report).into_iter().skip(1).map(owned).collect();
    assert_eq!((expected.len(), expected), (8, readme("| group | method | steps, median |")));
    let readme = fs::read_to_string(script("README.md")).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let said = |group: &str, other: &str| {
        let begins = format!("{group}: sse-sam takes fewer steps than {other} for ");
        report.lines().find_map(|line| line.strip_prefix(&begins)?.strip_suffix(" of 10 seeds")).unwrap().to_owned()
    };
    let [tail, head] = ["tail", "head"].map(|group| ["sgd", "sam", "imbsam"].map(|other| said(group, other)));
    assert_eq!(tail[0], tail[1]);
    assert_eq!(head[1], "0");
    for text in [
        format!("(before plain descent and SAM in {} of 10 seeds, before ImbSAM in {})", tail[0], tail[2]),
        format!(
            "the head's before plain descent in {} and before ImbSAM in {}, but before SAM in none",
            head[0], head[2]
        ),
    ] {
        assert!(readme.contains(&text), "{text}");
    }
    let [parted, trials] = ["others in ", " of "].map(|word| report.rsplit_once(word).unwrap().1);
    let (parted, trials) = (parted.split(' ').next().unwrap(), trials.trim().trim_end_matches(" trials"));
    assert!(readme.contains(&format!("the same but for {parted} of {trials} trials")), "{parted} {trials}");
}

#[test]
fn a_line_of_escapes_becomes_a_line_for_each_method() {
    let line = r#"{"weights_crc":"1","escapes":{"length":0.001},"group":"tail","escape":{"length":0.001,"limit":9,"fall":0.25,"methods":[{"method":"sgd","steps":[7,null],"amplification":1.0,"growth":1.0},{"method":"sam","steps":[3,4],"amplification":1.5,"growth":null}]},"checks":{"symmetry":1e-9}}"#;
    let file = file("escape.jsonl", &format!("{line}\n"));
    let Some(found) = awk(&["-v", "model=net", "-v", "seed=3"], &script("escape-lines.awk"), &file) else { return };
    let expected =
        ["net 3 tail 0.25 sgd 7 null 1 1", "net 3 tail 0.25 sam 3 4 1.5 null"].map(|line| line.replace(' ', "\t"));
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}
