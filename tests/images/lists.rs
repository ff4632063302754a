//! Lists, tables and annotations as people have them.

use super::*;

/// The pets as a list in the order of their paths, with numbers for labels.
const TRAIN: &str = "cat/1.jpg 0\ncat/2.png 0\ncat/more/3.webp 0\ndog/1.JPG 1\ndog/2.bmp 1\n";
const TEST: &str = "cat/9.jpg 0\ndog/9.png 1\n";

fn lists(home: &Path, train: &str, test: &str, ending: &str) {
    let below = |text: &str, split: &str| text.lines().map(|line| format!("{split}/{line}\n")).collect::<String>();
    fs::write(home.join(format!("train.{ending}")), below(train, "train")).unwrap();
    fs::write(home.join(format!("test.{ending}")), below(test, "test")).unwrap();
}

#[test]
fn paths_with_blanks_commas_backslashes_and_other_ends_of_lines_are_read() {
    let home = pets();
    train(home.path(), "folder", 2, &["--data", "pets"]);
    let expected = weights_of(home.path(), "folder").0;
    let args = ["--train", "train.txt", "--test", "test.txt", "--data-root", "pets"];
    type Form = fn(&str) -> String;
    let forms: [(&str, Form); 6] = [
        ("plain", str::to_owned),
        ("crlf", |text| text.replace('\n', "\r\n")),
        ("bom", |text| format!("\u{feff}{text}")),
        ("tabs", |text| text.replace(' ', "\t\t")),
        ("backslashes", |text| text.replace('/', "\\")),
        ("blank lines", |text| format!("\n{}", text.replace('\n', "  \n\n"))),
    ];
    for (name, form) in forms {
        lists(home.path(), TRAIN, TEST, "txt");
        for file in ["train.txt", "test.txt"] {
            let text = fs::read_to_string(home.path().join(file)).unwrap();
            fs::write(home.path().join(file), form(&text)).unwrap();
        }
        train(home.path(), name, 2, &args);
        assert_eq!(weights_of(home.path(), name).0, expected, "{name}");
    }
}

#[test]
fn tables_have_headers_quotes_and_separators_of_their_own() {
    let home = pets();
    write(home.path(), &[("pets/train/cat/with, comma.jpg", picture("422.jpg"))]);
    train(home.path(), "folder", 2, &["--data", "pets"]);
    let expected = weights_of(home.path(), "folder").0;
    let rows = ["cat/1.jpg", "cat/2.png", "cat/with, comma.jpg", "cat/more/3.webp", "dog/1.JPG", "dog/2.bmp"];
    for (name, separator, ending) in [("comma", ",", "csv"), ("semicolon", ";", "csv"), ("tab", "\t", "tsv")] {
        let row = |split: &str, path: &str| format!("{}{separator}7{separator}\"{split}/{path}\"\n", &path[..3]);
        let header = format!("label{separator}views{separator}file_name\n");
        let all: String = rows.iter().map(|path| row("train", path)).collect();
        fs::write(home.path().join(format!("train.{ending}")), format!("{header}{all}")).unwrap();
        let test: String = ["cat/9.jpg", "dog/9.png"].iter().map(|path| row("test", path)).collect();
        fs::write(home.path().join(format!("test.{ending}")), format!("{header}{test}")).unwrap();
        let (train_, test_) = (format!("train.{ending}"), format!("test.{ending}"));
        train(home.path(), name, 2, &["--train", &train_, "--test", &test_, "--data-root", "pets"]);
        assert_eq!(weights_of(home.path(), name).0, expected, "{name}");
        assert_eq!(classes(home.path(), name), ["cat", "dog"]);
    }
    // One table with a column for splits.
    let all: String = rows.iter().map(|path| format!("\"train/{path}\",{},training\n", &path[..3])).collect();
    let test = "test/cat/9.jpg,cat,test\ntest/dog/9.png,dog,test\n";
    fs::write(home.path().join("pets/all.csv"), format!("path,class,split\n{all}{test}")).unwrap();
    train(home.path(), "split", 2, &["--data", "pets/all.csv"]);
    assert_eq!(weights_of(home.path(), "split").0, expected);
}

#[test]
fn labels_from_1_are_noticed_and_said() {
    let home = pets();
    let args = ["--train", "train.txt", "--test", "test.txt", "--data-root", "pets"];
    lists(home.path(), TRAIN, TEST, "txt");
    train(home.path(), "zero", 2, &args);
    let from_1 = |text: &str| text.replace(" 1\n", " 2\n").replace(" 0\n", " 1\n");
    lists(home.path(), &from_1(TRAIN), &from_1(TEST), "txt");
    let outcome = train(home.path(), "one", 2, &args);
    assert!(outcome.stderr.contains("labels are numbered from 1: class 0 is label 1"), "{}", outcome.stderr);
    assert_eq!(weights_of(home.path(), "zero").0, weights_of(home.path(), "one").0);
    let outcome = train(home.path(), "kept", 3, &[&args[..], &["--label-base", "0"]].concat());
    assert!(outcome.stderr.contains("class 0 has no training sample"), "{}", outcome.stderr);
}

#[test]
fn a_label_that_only_the_test_set_has_adds_no_class() {
    let home = pets();
    let args = ["--train", "train.txt", "--test", "test.txt", "--data-root", "pets"];
    lists(home.path(), TRAIN, &format!("{TEST}dog/9.png 5000\n"), "txt");
    refused(home.path(), &args, &["test.txt", "line 3 has the class 5000, which the training set does not have"]);
    let outcome = train(home.path(), "out", 2, &[&args[..], &["--extra-classes", "ignore"]].concat());
    assert!(outcome.stdout.contains("test       2 pictures of 2 classes"), "{}", outcome.stdout);
}

#[test]
fn what_is_wrong_with_a_line_is_said_with_its_number() {
    let home = pets();
    let args = ["--train", "train.txt", "--test", "test.txt", "--data-root", "pets"];
    for (line, says) in [
        ("cat/1.jpg", "line 2 has no label"),
        ("cat/1.jpg -1", "line 2 has the label -1, which means none"),
        ("cat/1.jpg 99999999999", "line 2 has the label 99999999999"),
        ("cat/1.jpg cat", "line 2 has the label cat, where others have numbers"),
        ("cat/nowhere.jpg 0", "names files that are not there: 1 of 2, first in line 2: train/cat/nowhere.jpg"),
        ("../../secret.jpg 0", "line 2 leads out of pets"),
    ] {
        lists(home.path(), &format!("dog/1.JPG 1\n{line}\n"), TEST, "txt");
        refused(home.path(), &args, &["train.txt", says]);
    }
    fs::write(home.path().join("train.txt"), "").unwrap();
    refused(home.path(), &args, &["train.txt: names no picture"]);
}

#[test]
fn annotations_give_the_same_training_as_folders() {
    let home = pets();
    train(home.path(), "folder", 2, &["--data", "pets"]);
    let text = |split: &str, lines: &str| {
        let mut images = Vec::new();
        let mut annotations = Vec::new();
        for (id, line) in lines.lines().enumerate() {
            let (path, class) = line.split_once(' ').unwrap();
            let class: u64 = class.parse().unwrap();
            images.push(serde_json::json!({"id": id + 100, "file_name": format!("{split}/{path}"), "width": 3}));
            annotations.push(serde_json::json!({"id": id, "image_id": id + 100, "category_id": 7 + 9 * class}));
        }
        annotations.reverse();
        let categories = serde_json::json!([{"id": 16, "name": "dog"}, {"id": 7, "name": "cat"}]);
        serde_json::json!({"info": {}, "images": images, "annotations": annotations, "categories": categories})
            .to_string()
    };
    fs::write(home.path().join("train2018.json"), text("train", TRAIN)).unwrap();
    fs::write(home.path().join("val2018.json"), text("test", TEST)).unwrap();
    let outcome =
        train(home.path(), "coco", 2, &["--train", "train2018.json", "--val", "val2018.json", "--data-root", "pets"]);
    assert!(outcome.stderr.contains("the validation set is taken for the test set"), "{}", outcome.stderr);
    assert_eq!(weights_of(home.path(), "folder").0, weights_of(home.path(), "coco").0);
    assert_eq!(classes(home.path(), "coco"), ["cat", "dog"]);
}

#[test]
fn options_about_pictures_are_refused_where_there_are_none() {
    let home = pets();
    let outcome = run(home.path(), &["train", "--data", "digits", "--image-size", "8", "--device", "cpu"]);
    let says = "--image-size does nothing in this run: it is about pictures in files, and this data set holds none";
    assert!(outcome.code == 2 && outcome.stderr.contains(says), "{}", outcome.stderr);
    refused(
        home.path(),
        &["--data", "pets", "--crop-scale", "0.5,1"],
        &["--crop-scale does nothing in this run: it needs --augment imagenet"],
    );
    let both = ["--data", "pets", "--train", "pets/train"];
    refused(home.path(), &both, &["--data pets and --train pets/train name two data sets: leave one out"]);
    for (option, value, says) in [
        ("--crop-scale", "1,0.5", "--crop-scale takes two numbers above 0"),
        ("--crop-ratio", "0.5", "--crop-ratio takes two numbers above 0"),
        ("--jitter", "0.1,0.2", "--jitter takes one number or four"),
        ("--jitter", "0,0,0,0.7", "the hue is in 0..=0.5"),
    ] {
        refused(home.path(), &["--data", "pets", "--augment", "imagenet", option, value], &[says]);
    }
}
