//! Recipes that come with the program, and data that are not cut.

use super::*;

#[test]
fn recipes_are_listed_and_printed() {
    let folder = tempdir().unwrap();
    let listed = run(folder.path(), &["recipes"]);
    let names: Vec<&str> = listed.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let expected = ["digits-lt", "fashion-mnist-lt", "cifar100-lt-paper", "cifar10-lt-paper", "cifar100-lt-resnet32"];
    assert_eq!(names, expected);
    let one = run(folder.path(), &["recipes", "cifar100-lt-paper"]).stdout;
    for part in
        ["model = \"resnet34\"", "gamma = 0.7", "weight-decay = 1e-3", "average = 49.3", "arxiv.org/abs/2412.13715"]
    {
        assert!(one.contains(part), "{part} is not in {one}");
    }
}

#[test]
fn a_recipe_is_taken_where_nothing_else_is_typed() {
    let folder = tempdir().unwrap();
    let outcome = train(folder.path(), "out", &["--recipe", "digits-lt", "--epochs", "1", "--seed", "3"]);
    let config: toml::Table = fs::read_to_string(folder.path().join("out/config.toml")).unwrap().parse().unwrap();
    // Typed: the small model, batch and rate of these tests.
    assert_eq!(config["model"].as_str(), Some("mlp:64-16-10"));
    assert_eq!((config["validation"].as_float(), config["epochs"].as_integer()), (Some(0.1), Some(1)));
    assert_eq!((config["seed"].as_integer(), config["weight-decay"].as_float()), (Some(3), Some(5e-4)));
    assert!(!outcome.stdout.contains("published"), "{}", outcome.stdout);
}

#[test]
fn recipes_that_are_not_there_and_data_that_they_lack_are_named() {
    let folder = tempdir().unwrap();
    let with = |name| ["train", "--out", "out", "--recipe", name];
    refused(folder.path(), &with("digits"), 2, &["invalid value 'digits' for '--recipe <NAME>'", "digits-lt"]);
    refused(folder.path(), &["recipes", "cifar100"], 2, &["invalid value 'cifar100'", "cifar100-lt-paper"]);
    let needs = "--recipe fashion-mnist-lt needs --data: the folder with the four IDX files of Fashion-MNIST";
    refused(folder.path(), &with("fashion-mnist-lt"), 2, &[needs]);
    let both = [&with("digits-lt")[..], &["--config", "file.toml"]].concat();
    refused(folder.path(), &both, 2, &["'--recipe <NAME>' cannot be used with '--config <FILE.toml>'"]);
    // Data of another kind than the recipe is for.
    let other = [&with("cifar100-lt-paper")[..], &["--data", "digits"]].concat();
    refused(folder.path(), &other, 2, &["the built-in digits cannot be read as cifar100"]);
}

#[test]
fn digits_are_not_cut_where_that_is_said_and_the_run_remembers() {
    let folder = tempdir().unwrap();
    let outcome = train(folder.path(), "out", &["--imbalance", "none", "--epochs", "1"]);
    assert!(
        outcome.stdout.starts_with("digits: 3823 training images in 10 classes of 389 to 376 "),
        "{}",
        outcome.stdout
    );
    let config = fs::read_to_string(folder.path().join("out/config.toml")).unwrap();
    assert!(config.contains("imbalance = \"none\"\n"), "{config}");
    train(folder.path(), "again", &["--config", "out"]);
    let read = |run: &str| fs::read(folder.path().join(run).join("last.safetensors")).unwrap();
    assert!(read("out") == read("again"));
    for imbalance in ["some", "", "1,5"] {
        let args = ["train", "--out", "out2", "--imbalance", imbalance];
        let refused = run(folder.path(), &args);
        assert_eq!(refused.code, 2, "{imbalance}");
        assert!(refused.stderr.contains("an imbalance is a number, or none"), "{}", refused.stderr);
    }
}
