//! What weights say about pictures, and what is made of that.

use super::*;

#[test]
fn a_bad_picture_is_a_line_with_its_reason() {
    let home = pets();
    train(home.path(), "out", 2, &["--data", "pets"]);
    let jpeg = picture("420.jpg");
    write(
        home.path(),
        &[("more/bad.jpg", jpeg[..jpeg.len() / 2].to_vec()), ("more/good.jpg", jpeg), ("more/none.jpg", vec![])],
    );
    let predict = |format: &str| {
        let args =
            ["predict", "out/last.safetensors", "more", "pets/test/dog/9.png", "--format", format, "--top-k", "2"];
        run(home.path(), &[&args[..], &["--device", "cpu", "--batch", "2"]].concat())
    };
    let lines = predict("json");
    assert_eq!(lines.code, 2, "{}", lines.stderr);
    assert!(lines.stderr.contains("2 of 4 pictures could not be read"), "{}", lines.stderr);
    let lines: Vec<Value> = lines.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|line| line["path"].as_str().unwrap()).collect::<Vec<_>>(),
        ["more/bad.jpg", "more/good.jpg", "more/none.jpg", "pets/test/dog/9.png"]
    );
    assert!(lines[0]["error"].as_str().unwrap().starts_with("is JPEG that is cut off"));
    assert_eq!(lines[2]["error"], "has no byte");
    for line in [&lines[1], &lines[3]] {
        let top = line["top"].as_array().unwrap();
        let sum: f64 = top.iter().map(|top| top["probability"].as_f64().unwrap()).sum();
        assert!(top.len() == 2 && (sum - 1.0).abs() < 1e-9, "{line}");
        let names: Vec<&str> = top.iter().map(|top| top["name"].as_str().unwrap()).collect();
        assert!(names == ["cat", "dog"] || names == ["dog", "cat"], "{line}");
    }
    let table = predict("csv").stdout;
    assert!(table.starts_with("path,error,class1,probability1,class2,probability2\nmore/bad.jpg,is JPEG"), "{table}");
    assert_eq!(predict("table").stdout.lines().count(), 4);
}

#[test]
fn lists_of_pictures_are_predicted() {
    let home = pets();
    train(home.path(), "out", 2, &["--data", "pets"]);
    fs::write(home.path().join("pets/two.txt"), "test/dog/9.png\ntest/cat/9.jpg 0\n").unwrap();
    let lines = run(home.path(), &["predict", "out/last.safetensors", "pets/two.txt", "--device", "cpu"]);
    assert_eq!(lines.code, 0, "{}", lines.stderr);
    let paths: Vec<&str> = lines.stdout.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(paths, ["pets/test/dog/9.png", "pets/test/cat/9.jpg"]);
}

#[test]
fn tables_of_classes_have_names() {
    let home = pets();
    train(home.path(), "out", 2, &["--data", "pets"]);
    let outcome = run(home.path(), &["eval", "out/last.safetensors", "--device", "cpu"]);
    assert!(outcome.stdout.contains("class  name  training  accuracy %"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("\n    0  cat         3"), "{}", outcome.stdout);
    let evaluation: Value =
        serde_json::from_str(&fs::read_to_string(home.path().join("out/evaluation.json")).unwrap()).unwrap();
    assert_eq!(evaluation["classes"][1]["name"], "dog");
}

#[test]
fn a_run_goes_on_and_is_repeated_by_its_configuration() {
    let home = pets();
    train(home.path(), "out", 2, &["--data", "pets", "--resize", "9"]);
    let again = run(home.path(), &["train", "--config", "out/config.toml", "--out", "again"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(weights_of(home.path(), "out").0, weights_of(home.path(), "again").0);
    // Other pictures under the same names: a new length is another data set.
    write(home.path(), &[("pets/train/dog/3.png", picture("grey.png"))]);
    let other = run(home.path(), &["train", "--config", "out/config.toml", "--out", "other"]);
    assert!(other.stderr.contains("the data are not those that the configuration was made with"), "{}", other.stderr);
}

#[test]
fn weights_that_were_measured_on_what_was_set_aside_need_a_test_set() {
    let home = pets();
    train(home.path(), "out", 2, &["--data", "pets/train", "--validation", "0.4"]);
    let outcome = run(home.path(), &["eval", "out/last.safetensors", "--device", "cpu"]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("was measured on training samples that were set aside"), "{}", outcome.stderr);
    let outcome = run(home.path(), &["eval", "out/last.safetensors", "--data", "pets/test", "--device", "cpu"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
}

#[test]
fn labels_from_1_are_from_1_for_eval_too() {
    let home = pets();
    fs::write(home.path().join("train.txt"), "train/cat/1.jpg 1\ntrain/cat/2.png 1\ntrain/dog/1.JPG 2\n").unwrap();
    fs::write(home.path().join("test.txt"), "test/dog/9.png 2\n").unwrap();
    train(home.path(), "out", 2, &["--train", "train.txt", "--test", "test.txt", "--data-root", "pets"]);
    // By itself this list could be from 0, with a class of its own.
    let outcome = run(home.path(), &["eval", "out/last.safetensors", "--device", "cpu", "--json"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let samples =
        |class: usize| serde_json::from_str::<Value>(&outcome.stdout).unwrap()["classes"][class]["samples"].clone();
    assert_eq!((samples(0), samples(1)), (Value::from(0), Value::from(1)));
}

#[test]
fn a_thin_picture_is_refused_before_memory_is_taken() {
    let home = pets();
    train(home.path(), "out", 2, &["--data", "pets", "--resize", "256"]);
    let mut thin = Vec::new();
    let mut encoder = png::Encoder::new(&mut thin, 1, 60_000);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[7; 60_000]).unwrap();
    write(home.path(), &[("thin.png", thin)]);
    let line = run(home.path(), &["predict", "out/last.safetensors", "thin.png", "--device", "cpu"]);
    assert_eq!(line.code, 2, "{}", line.stderr);
    assert!(line.stdout.contains("thin.png  not read: is too thin: 1 x 60000 pixels"), "{}", line.stdout);
}

#[test]
fn a_path_that_is_not_there_is_a_line_too() {
    let home = pets();
    train(home.path(), "out", 2, &["--data", "pets"]);
    fs::write(home.path().join("pets/all.csv"), "file_name,views\ntest/dog/9.png,3\n").unwrap();
    let args = ["predict", "out/last.safetensors", "nowhere.jpg", "pets/all.csv", "--device", "cpu"];
    let lines = run(home.path(), &args);
    assert_eq!(lines.code, 2, "{}", lines.stderr);
    let lines: Vec<&str> = lines.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("nowhere.jpg  not read: cannot be read"), "{lines:?}");
    assert!(lines[1].starts_with("pets/test/dog/9.png  "), "{lines:?}");
}

#[test]
fn pictures_are_not_taken_for_digits() {
    let home = pets();
    let digits = ["train", "--epochs", "1", "--model", "mlp:64-4-10", "--device", "cpu", "--out", "digits"];
    assert_eq!(run(home.path(), &digits).code, 0);
    let outcome = run(home.path(), &["predict", "digits/last.safetensors", "pets/test", "--device", "cpu"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("was trained on the built-in digits"), "{}", outcome.stderr);
}
