//! What README.md and the pages it points to say, as far as it can be compared without training for long: each cell of a
//! table with what the program gives now, each command, path and link with what there is. `tests/tables.sh` does the same
//! for the results.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::Value;
use sse_sam::cli::args::Cli;
use sse_sam::data::{self, Dataset, Format, Split};
use sse_sam::recipe::words::MethodName;
use sse_sam::recipe::{Options, Recipe};
use sse_sam_core::training::method::Groups;
use sse_sam_core::{Demand, Economy, Method, Shape};
use tempfile::tempdir;

/// A cache folder of the tests' own: none may write to the user's.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const PAGES: [&str; 5] = ["README.md", "core/README.md", "host/README.md", "kernels/README.md", "tests/README.md"];

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// All pages.
fn pages() -> String {
    PAGES.map(page).join("\n")
}

fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The rows of the table whose first heading is this.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = pages();
    let mut lines = text.lines().skip_while(|line| !line.starts_with('|') || cells(line)[0] != heading);
    let columns = cells(lines.next().unwrap_or_else(|| panic!("no page has a table of {heading}"))).len();
    let rows: Vec<Vec<String>> = lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.len() == columns), "{heading}: {rows:?}");
    rows
}

/// The numbers of a text, commas between thousands left out.
fn numbers(text: &str) -> Vec<u64> {
    let text = text.replace(',', "");
    text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-sam"));
    command.env("SSE_SAM_CACHE", CACHE).args(args).current_dir(folder).stdin(Stdio::null());
    command
}

/// The last line of `footprint --json`.
fn footprint(args: &[&str]) -> Value {
    let output = program(&root(), &[&["footprint", "--json"], args].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().next_back().unwrap()).unwrap()
}

/// The form of a footprint for a method in a memory.
fn form<'v>(footprint: &'v Value, method: &str, memory: &str) -> &'v Value {
    let mut forms = footprint["forms"].as_array().unwrap().iter();
    forms.find(|form| form["method"] == method && form["memory"] == memory).unwrap()
}

#[test]
fn a_perceptrons_footprint_is_that_of_the_table() {
    let model = ["--model", "mlp:64-32-10", "--batch", "16"];
    let (whole, pieces) = (footprint(&model), footprint(&[&model[..], &["--micro-batch", "1"]].concat()));
    let text = pages();
    let rows: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| !line.contains("recompute, `--micro-batch 1`"))
        .skip(2)
        .take(5)
        .map(cells)
        .collect();
    for (row, method) in rows.iter().zip(["sgd", "sam", "imbsam", "sse-sam", "focal-sam"]) {
        let [full, lean, recompute] = ["full", "lean", "recompute"].map(|memory| form(&whole, method, memory));
        let bytes: Vec<u64> = [full, lean, recompute, form(&pieces, method, "recompute")]
            .map(|form| form["total_bytes"].as_u64().unwrap())
            .into();
        assert_eq!(row[0], method);
        assert_eq!(row[1..].iter().flat_map(|cell| numbers(cell)).collect::<Vec<_>>(), bytes, "{method}");
    }
    assert_eq!(rows.len(), 5);
}

#[test]
fn vectors_and_passes_are_those_of_the_table_of_memory() {
    let whole = footprint(&["--model", "mlp:64-32-10", "--batch", "16"]);
    let rows = table("`--memory`");
    assert_eq!(rows.len(), 3);
    for (row, (name, economy)) in
        rows.iter().zip([("full", Economy::Full), ("lean", Economy::Lean), ("recompute", Economy::Recompute)])
    {
        assert_eq!(row[0], format!("`{name}`"));
        let demand = Demand { groups: Groups::new(0.1, Some(0.1)).unwrap(), economy, pieces: false };
        assert_eq!(numbers(&row[1])[0], demand.vectors() as u64);
        let passes = form(&whole, "sse-sam", name)["passes"].as_array().unwrap();
        assert_eq!(numbers(&row[2]), passes.iter().map(|number| number.as_u64().unwrap()).collect::<Vec<_>>());
    }
}

#[test]
fn an_evaluation_needs_the_memory_that_is_said() {
    let residual = footprint(&["--model", "resnet8:4", "--image", "8x8x1", "--classes", "10", "--batch", "8"]);
    let text = pages().replace('\n', " ");
    let sentence = text.split_once("`resnet8:4` on 8 x 8 images at batch 8 needs ").unwrap().1;
    let said = numbers(sentence.split_once('.').unwrap().0);
    let found = [&residual["inference"]["total_f32"], &residual["arena_f32"]].map(|number| number.as_u64().unwrap());
    assert_eq!(said, found);
}

/// A data set of a format, with what decides defaults: as many samples as the real one has in its smallest class.
fn dataset(format: Format) -> Dataset {
    if format == Format::Digits {
        return data::load("digits", None).unwrap();
    }
    let (classes, per_class) = if format == Format::Cifar100 { (100, 500) } else { (10, 5000) };
    let labels: Vec<u32> = (0..per_class).flat_map(|_| 0..classes).collect();
    let image = Shape::new(1, 1, 1);
    Dataset {
        name: "made".into(),
        format,
        image,
        classes: classes as usize,
        class_names: Vec::new(),
        train: Arc::new(Split { image, images: vec![0; labels.len()], labels }),
        validation: None,
        test: Arc::new(Split::empty(image)),
        notices: Vec::new(),
        summary: Vec::new(),
        view: None,
    }
}

fn config(format: Format) -> Recipe {
    Recipe::resolve(&Options::default(), &dataset(format)).unwrap()
}

#[test]
fn defaults_are_those_of_the_table() {
    let rows = table("data");
    let sets = [
        ("digits", Format::Digits, 1),
        ("IDX", Format::Idx, 1),
        ("CIFAR-10", Format::Cifar10, 1),
        ("CIFAR-100", Format::Cifar100, 1),
        ("npz", Format::Npz, 1),
        ("pictures of up to 96 pixels", Format::Folder, 96),
        ("larger ones", Format::Folder, 97),
    ];
    assert_eq!(rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), sets.map(|(name, ..)| name));
    for (row, (_, format, side)) in rows.iter().zip(sets) {
        let mut dataset = dataset(format);
        if format != Format::Digits {
            dataset.image = Shape::new(side, side, 1);
        }
        let config = Recipe::resolve(&Options::default(), &dataset).unwrap();
        let number = |cell: &str| cell.parse::<f64>().unwrap();
        assert_eq!(row[1], format!("`{}`", config.model));
        assert_eq!(row[2], config.imbalance.map_or("as it is".into(), |imbalance| imbalance.to_string()));
        // Where they come from the counts there is a word.
        if numbers(&row[3]).len() + numbers(&row[4]).len() > 0 || format != Format::Idx {
            assert_eq!(numbers(&row[3]), [u64::from(config.eta)], "{row:?}");
            assert_eq!(numbers(&row[4]), [config.shots.many, config.shots.few].map(u64::from), "{row:?}");
        }
        assert_eq!(numbers(&row[5]), [u64::from(config.epochs)]);
        assert_eq!(numbers(&row[6]), [config.batch as u64]);
        assert_eq!([number(&row[7]), number(&row[8])], [config.rates.base, config.weight_decay]);
        assert_eq!(row[9], clap::ValueEnum::to_possible_value(&config.augment).unwrap().get_name());
    }
}

#[test]
fn defaults_of_all_data_sets_are_those_of_the_sentence() {
    let config = config(Format::Digits);
    let Method::SseSam { head_rho, tail_rho, gamma } = config.method else { panic!("{:?}", config.method) };
    let sam = Options { method: Some(MethodName::Sam), ..Options::default() };
    let Method::Sam { rho } = Recipe::resolve(&sam, &dataset(Format::Digits)).unwrap().method else {
        panic!("no radius")
    };
    let schedule = clap::ValueEnum::to_possible_value(&config.rates.name).unwrap().get_name().to_owned();
    let sentence = format!(
        "momentum {}, {schedule} schedule, `rho` {rho}, `head-rho` {head_rho}, `tail-rho` {tail_rho}, `gamma` {gamma}",
        config.momentum
    );
    assert!(pages().replace('\n', " ").contains(&sentence), "no page says: {sentence}");
}

#[test]
fn every_method_of_the_table_is_one_of_the_program() {
    let names: Vec<String> = table("`--method`").iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(names, ["sgd", "sam", "imbsam", "sse-sam", "focal-sam"]);
    for name in names {
        assert!(Cli::try_parse_from(["sse-sam", "train", "--method", &name]).is_ok(), "{name}");
    }
}

#[test]
fn the_digits_have_the_counts_that_are_said() {
    let config = config(Format::Digits);
    let digits = dataset(Format::Digits);
    let kept = data::subset(&digits, config.imbalance.unwrap(), config.profile, config.rule, config.seed).unwrap();
    let counts = digits.counts_of(&kept);
    let said = format!(
        "optdigits cut to imbalance {}: {} to {} training images a class, {},{:03} in all; {},{:03} test images",
        config.imbalance.unwrap(),
        counts[0],
        counts[9],
        kept.len() / 1000,
        kept.len() % 1000,
        digits.test.len() / 1000,
        digits.test.len() % 1000
    );
    assert!(pages().replace('\n', " ").contains(&said), "no page says: {said}");
}

#[test]
fn the_firmwares_label_is_the_table_of_chips() {
    let label = fs::read_to_string(root().join("tests/firmware/label.txt")).unwrap();
    let chips = [("thumbv7em", "Cortex-M4F"), ("thumbv7m", "Cortex-M3"), ("riscv32", "RISC-V 32")];
    let rows = table("chip");
    let mut compared = 0;
    for line in label.lines().skip(1) {
        let words: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let [target, core, profile, name, costs @ ..] = words.as_slice() else { panic!("{line}") };
        if (core.as_str(), profile.as_str()) != ("source", "release") {
            continue;
        }
        let chip = chips.iter().find(|(prefix, _)| target.starts_with(prefix)).unwrap().1;
        let cost: Vec<u64> = costs.iter().flat_map(|cell| numbers(cell)).collect();
        let row = rows.iter().find(|row| row[0] == chip && row[1] == format!("`{name}`")).unwrap();
        let said: Vec<u64> = row[2..].iter().flat_map(|cell| numbers(cell)).collect();
        assert_eq!(said, [&[cost[0] + cost[1]], &cost[2..]].concat(), "{line}");
        compared += 1;
    }
    assert_eq!(compared, rows.len());
}

#[test]
fn the_c_interface_has_as_many_functions_as_is_said() {
    let header = fs::read_to_string(root().join("core/capi/include/sse_sam.h")).unwrap();
    let functions = header.lines().filter(|line| line.contains(" sse_sam_") || line.contains("*sse_sam_"));
    let functions = functions.filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    let count = functions.filter(|line| line.contains('(') && !line.starts_with("typedef")).count();
    assert!(pages().contains(&format!("`core/capi/include/sse_sam.h`: {count} functions")), "{count} functions");
}

/// The exit codes of the table.
fn codes() -> Vec<i32> {
    table("exit code").iter().flat_map(|row| numbers(&row[0])).map(|code| code as i32).collect()
}

#[test]
fn every_exit_code_of_the_table_is_one_of_the_program() {
    let (codes, folder) = (codes(), tempdir().unwrap());
    assert!([0, 1, 2, 130, 143].iter().all(|code| codes.contains(code)), "{codes:?}");
    for code in codes {
        let found = match code {
            0 => program(folder.path(), &["footprint", "--model", "mlp:64-32-10", "--batch", "16"])
                .output()
                .unwrap()
                .status
                .code(),
            1 => program(folder.path(), &["verify", "gone.json", "--device", "cpu"]).output().unwrap().status.code(),
            2 => program(folder.path(), &["train", "--epochs", "none"]).output().unwrap().status.code(),
            _ => stopped(folder.path(), code - 128),
        };
        assert!(found == Some(code) || (code > 128 && cfg!(not(unix))), "{code}: {found:?}");
    }
}

/// How a run ends that a signal of this number stops.
fn stopped(folder: &Path, signal: i32) -> Option<i32> {
    let out = format!("stopped-{signal}");
    let options = ["--model", "mlp:64-16-10", "--epochs", "100000", "--device", "cpu", "--quiet", "--out", &out];
    let mut command = program(folder, &[&["train"], &options[..]].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let log = folder.join(&out).join("log.txt");
    while !fs::read_to_string(&log).is_ok_and(|log| log.contains("training from")) {
        assert!(started.elapsed() < Duration::from_secs(60), "the run does not begin");
        sleep(Duration::from_millis(5));
    }
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
    if !sent.is_ok_and(|status| status.success()) {
        child.kill().unwrap();
    }
    child.wait().unwrap().code()
}

/// The lines of a page that are typed, indented or between fences of text, without what follows them as a comment.
fn code(page: &str) -> Vec<String> {
    let fenced = page.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next()).flat_map(str::lines);
    let indented = page.lines().filter_map(|line| line.strip_prefix("    "));
    indented.chain(fenced).map(|line| line.split("  #").next().unwrap_or(line).trim().to_owned()).collect()
}

#[test]
fn every_command_of_a_page_is_understood() {
    let mut understood = 0;
    for name in PAGES {
        for line in code(&page(name)) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words[..].first() != Some(&"sse-sam") {
                continue;
            }
            let parsed = Cli::try_parse_from(&words);
            assert!(parsed.is_ok(), "{name}: {line}: {}", parsed.unwrap_err());
            understood += 1;
        }
    }
    assert!(understood > 20, "{understood} commands were found");
}

/// Whether a word of a page names a file or folder of this repository: it says so by where it begins.
fn is_path(word: &str) -> bool {
    ["core/", "host/", "kernels/", "tests/", ".ci/"].iter().any(|folder| word.starts_with(folder))
        && !word.contains('*')
}

#[test]
fn every_path_and_link_of_a_page_exists() {
    let mut found = 0;
    for name in PAGES {
        let (text, folder) = (page(name), root().join(Path::new(name).parent().unwrap()));
        let quoted = text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).map(str::to_owned);
        let typed =
            code(&text).into_iter().flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        for word in quoted.chain(typed).filter(|word| is_path(word)) {
            assert!(root().join(&word).exists(), "{name} names {word}");
            found += 1;
        }
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link));
        for link in links.filter(|link| !link.starts_with("http")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root().join(name) } else { folder.join(path) };
            assert!(target.exists(), "{name} points to {link}");
            let headings = fs::read_to_string(&target).unwrap_or_default();
            let anchors = headings.lines().filter(|line| line.starts_with('#')).map(anchor);
            assert!(heading.is_empty() || anchors.into_iter().any(|known| known == heading), "{name} points to {link}");
            found += 1;
        }
    }
    assert!(found > 50, "{found} paths were found");
}

/// What a link to a heading is called.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn the_map_has_every_room_of_core_and_host() {
    let map: Vec<String> = code(&page("README.md"))
        .iter()
        .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for source in ["core/src", "host/src"] {
        for entry in fs::read_dir(root().join(source)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let word = if entry.path().is_dir() { format!("{name}/") } else { name.trim_end_matches(".rs").to_owned() };
            assert!(["lib", "main"].contains(&&*word) || map.contains(&word), "README's map has no {source}/{word}");
        }
    }
}

/// The lines of a file from one on that begins with this, up to an empty one.
fn lines_from<'a>(text: &'a str, first: &str) -> Vec<&'a str> {
    text.lines().skip_while(|line| !line.starts_with(first)).take_while(|line| !line.is_empty()).collect()
}

#[test]
fn the_results_are_those_that_are_kept_beside_their_recipe() {
    let (readme, kept) = (page("README.md"), page("host/recipes/results/digits-lt.md"));
    for (first, count) in [("| arm | epoch |", 10), ("- sam is ", 3)] {
        let expected = lines_from(&kept, first);
        assert_eq!((expected.len(), lines_from(&readme, first)), (count, expected.clone()));
    }
    let json: Value = serde_json::from_str(&page("host/recipes/results/digits-lt.json")).unwrap();
    let rows = kept.lines().filter(|line| line.starts_with("| ") && line.contains(" | last | 5 | ")).take(4);
    for (row, arm) in rows.zip(json["arms"].as_array().unwrap()) {
        let number = |key: &str| arm["last"]["balanced"][key].as_f64().unwrap();
        assert_eq!(cells(row)[4], format!("{:.2} ± {:.2}", number("mean"), number("deviation")), "{row}");
    }
}

#[test]
fn the_first_page_is_short() {
    let lines = page("README.md").lines().count();
    assert!(lines < 200, "README.md has {lines} lines");
}

#[test]
fn the_librarys_example_is_the_one_that_its_docs_test() {
    let (guide, docs) = (page("host/README.md"), page("host/src/lib.rs"));
    let example = guide.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let tested: Vec<&str> = docs.lines().filter_map(|line| line.strip_prefix("//! ")).collect();
    for line in example.lines().filter(|line| !line.is_empty()) {
        assert!(tested.contains(&line), "host/src/lib.rs does not test: {line}");
    }
    assert!(example.lines().count() > 8);
}
