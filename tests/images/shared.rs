//! Real data sets that are too large for the repository: a folder with `trash-set.tar` and `difficult.tar.gz` is named by
//! SSE_SAM_IMAGES.

use std::env;

use flate2::read::GzDecoder;

use super::*;

/// A set unpacked; none where nobody says where it is.
pub fn unpacked(archive: &str) -> Option<TempDir> {
    let Some(home) = env::var_os("SSE_SAM_IMAGES") else {
        println!("skipped: SSE_SAM_IMAGES does not name a folder with {archive}");
        return None;
    };
    let (file, folder) = (fs::File::open(Path::new(&home).join(archive)).unwrap(), tempdir().unwrap());
    let bytes: Box<dyn std::io::Read> =
        if archive.ends_with(".gz") { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    tar::Archive::new(bytes).unpack(folder.path()).unwrap();
    Some(folder)
}

fn args<'a>(out: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["train", "--image-size", "8", "--epochs", "1", "--method", "sgd", "--device", "cpu", "--out", out];
    [&fixed[..], args].concat()
}

#[test]
fn real_lists_tables_and_annotations_are_the_same_training() {
    let Some(home) = unpacked("trash-set.tar") else { return };
    let set = home.path().join("trash-set");
    let mut found = Vec::new();
    for (name, files) in [
        ("list", ["Trash_LT_train.txt", "Trash_LT_val.txt", "Trash_LT_test.txt"]),
        ("csv", ["train.csv", "val.csv", "test.csv"]),
        ("coco", ["train2018.json", "val2018.json", "test2018.json"]),
    ] {
        let [train, val, test] = files.map(|file| format!("lists/{file}"));
        let model = ["--model", "mlp:192-8-6", "--data-root", "trash"];
        let outcome =
            run(&set, &args(name, &[&["--train", &train, "--val", &val, "--test", &test], &model[..]].concat()));
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        found.push(weights_of(&set, name).0);
    }
    assert!(found.iter().all(|weights| *weights == found[0]));
    let outcome = run(&set, &args("folder", &["--data", "trash", "--model", "mlp:192-8-6", "--verify"]));
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("training   758 pictures of 6 classes"), "{}", outcome.stdout);
}

#[test]
fn a_difficult_tree_has_its_right_answers() {
    let Some(home) = unpacked("difficult.tar.gz") else { return };
    let set = home.path().join("difficult");
    let small = ["--model", "mlp:192-4-6", "--validation", "0.2"];
    let outcome = run(&set, &args("a", &[&["--data", "tree"], &small[..]].concat()));
    assert!(outcome.stderr.contains("has the class zebra only in test"), "{}", outcome.stderr);
    let ignore = ["--data", "tree", "--extra-classes", "ignore"];
    let outcome = run(&set, &args("b", &[&ignore[..], &small].concat()));
    assert!(outcome.code == 1 && outcome.stderr.contains("dangling.png cannot be read"), "{}", outcome.stderr);
    let outcome = run(&set, &args("c", &[&ignore[..], &["--bad-images", "skip"], &small].concat()));
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let names = classes(&set, "c");
    assert_eq!(names, ["a", "b space", "empty class", "linked class", "only text", "é"]);
    assert!(outcome.stderr.contains("classes empty class, only text have no training sample"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("1 picture lies outside of all class folders"), "{}", outcome.stderr);
    let numbers = "tree-numbers/train";
    let outcome = run(&set, &args("d", &["--train", numbers, "--test", numbers, "--model", "mlp:192-4-13"]));
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(classes(&set, "d")[..4], ["0", "1", "10", "100"]);
}

#[test]
fn difficult_lists_have_their_right_answers() {
    let Some(home) = unpacked("difficult.tar.gz") else { return };
    let set = home.path().join("difficult");
    let tree = ["--data-root", "tree", "--model", "mlp:192-4-3", "--validation", "0.2"];
    let mut found: Vec<Vec<u8>> = Vec::new();
    for name in [
        "plain",
        "no_last_newline",
        "crlf",
        "bom",
        "blank_lines",
        "tabs",
        "dot_slash",
        "backslashes",
        "commas",
        "comments",
        "one_based",
        "names",
    ] {
        let file = format!("lists/{name}.{}", if name == "commas" { "csv" } else { "txt" });
        let outcome = run(&set, &args(name, &[&["--train", &file], &tree[..]].concat()));
        assert_eq!(outcome.code, 0, "{name}: {}", outcome.stderr);
        found.push(weights_of(&set, name).0);
    }
    assert!(found.iter().all(|weights| *weights == found[0]));
    assert_eq!(classes(&set, "names"), ["ant", "bee", "wasp"]);
    for (name, says) in [
        ("negative", "line 1 has the label -1"),
        ("huge_label", "line 2 has the label 99999999999"),
        ("no_label", "line 2 has no label"),
        ("three_columns", "line 1 has the label 0.5"),
        ("leading_count", "line 1 has no label"),
        ("missing_file", "first in line 2: train/a/not there.png"),
        ("dotdot", "line 1 leads out of tree"),
        ("empty", "names no picture"),
    ] {
        let file = format!("lists/{name}.txt");
        let outcome = run(&set, &args("refused", &[&["--train", &file], &tree[..]].concat()));
        assert!(outcome.code == 1 && outcome.stderr.contains(says), "{name}: {}", outcome.stderr);
    }
}

#[test]
fn every_difficult_picture_is_predicted_or_refused_with_a_reason() {
    let Some(home) = unpacked("difficult.tar.gz") else { return };
    let set = home.path().join("difficult");
    let tree = ["--data", "tree", "--extra-classes", "ignore", "--bad-images", "skip", "--model", "mlp:192-4-6"];
    let trained = run(&set, &args("out", &[&tree[..], &["--validation", "0.2"]].concat()));
    assert_eq!(trained.code, 0, "{}", trained.stderr);
    let lines =
        run(&set, &["predict", "out/last.safetensors", "files", "pngsuite", "--format", "json", "--device", "cpu"]);
    let lines: BTreeMap<PathBuf, Value> = lines
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["path"].as_str().unwrap().into(), line))
        .collect();
    assert!(lines.len() > 200, "{}", lines.len());
    let answers = fs::read_to_string(set.join("answers.csv")).unwrap();
    let allowed = ["avif_named.jpg", "tiff_jpeg.tif", "png_no_iend.png", "xcsn0g01.png"];
    for answer in answers.lines().skip(1) {
        let mut fields = answer.split(',');
        let (file, pil) = (fields.next().unwrap(), fields.next().unwrap());
        let Some(line) = lines.get(Path::new(file)) else { continue };
        let is_refused = line.get("error").is_some();
        if pil == "error" {
            assert!(is_refused, "{file} is not refused");
        } else if !allowed.iter().any(|name| file.ends_with(name)) {
            assert!(!is_refused, "{file}: {}", line["error"]);
        }
    }
}
