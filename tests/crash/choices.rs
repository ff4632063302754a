//! Which form of a convolution is used is chosen once, kept in the user's cache, and part of a run.

use super::*;

/// A cache folder, and a folder of runs on an OpenCL device whose convolutions are large enough to be timed.
struct Desk {
    folder: TempDir,
    cache: PathBuf,
}

impl Desk {
    /// None, and it says so, where no device has a choice.
    fn new() -> Option<Self> {
        if !has_opencl() {
            return None;
        }
        let folder = tempdir().unwrap();
        write_data(&folder.path().join("data"));
        let cache = folder.path().join("cache");
        let desk = Self { folder, cache };
        let chosen = desk.train("probe", &[]).1.contains("timing convolutions");
        if !chosen {
            skip("this device has one form of convolutions only");
        }
        fs::remove_dir_all(desk.path("probe")).unwrap();
        let _ = fs::remove_dir_all(&desk.cache);
        chosen.then_some(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.cache.join("devices.toml")
    }

    /// Runs the program; what it says on standard error beside the lines of epochs and stages.
    #[track_caller]
    fn succeed(&self, args: &[&str]) -> String {
        let output = program(self.folder.path(), args).env("SSE_SAM_CACHE", &self.cache).output().unwrap();
        let text = stderr(&output);
        assert!(output.status.success() && !text.contains("panicked"), "{args:?}\n{text}");
        text.split_inclusive('\n').filter(|line| !line.starts_with("epoch ") && !line.starts_with("stage ")).collect()
    }

    /// Trains into `out`; its weights, and what was said on standard error.
    #[track_caller]
    fn train(&self, out: &str, options: &[&str]) -> (Vec<u8>, String) {
        let sizes = ["--data", "data", "--eta", "15", "--model", "resnet8:32", "--batch", "40", "--epochs", "3"];
        let all = [&["train", "--device", "opencl", "--out", out, "--keep", "9"], &sizes[..], options].concat();
        let said = self.succeed(&all);
        (fs::read(self.path(out).join("last.safetensors")).unwrap(), said)
    }

    /// Chooses the other form everywhere.
    fn turn(&self) {
        let text = fs::read_to_string(self.file()).unwrap();
        let turned = text.replace("\"direct\"", "\"?\"").replace("\"winograd\"", "\"direct\"");
        let turned = turned.replace("\"?\"", "\"winograd\"");
        assert_ne!(text, turned);
        fs::write(self.file(), turned).unwrap();
    }
}

#[test]
fn a_choice_is_made_once_and_gives_the_same_bits_from_then_on() {
    let Some(desk) = Desk::new() else { return };
    let (_, said) = desk.train("first", &[]);
    assert!(said.starts_with("sse-sam: timing convolutions of 3 shapes on "), "{said}");
    assert!(said.trim_end().ends_with(&format!("kept in {}", desk.file().display())), "{said}");
    let kept = fs::read(desk.file()).unwrap();
    let (_, said) = desk.train("second", &[]);
    assert_eq!(said, "");
    assert_eq!(fs::read(desk.file()).unwrap(), kept);
    assert_eq!(fs::read_dir(&desk.cache).unwrap().count(), 1, "nothing else is left there");
    same(&desk.path("first"), &desk.path("second"), "the same choices");
    let config = fs::read_to_string(desk.path("first/config.toml")).unwrap();
    let table = String::from_utf8(kept).unwrap().split_once("[device.convolutions]").unwrap().1.to_owned();
    assert!(config.ends_with(&format!("[run.convolutions]{table}")), "{config}\nhas no{table}");
}

#[test]
fn nothing_is_timed_where_nothing_is_to_be_chosen_or_gained() {
    let Some(desk) = Desk::new() else { return };
    for (out, options) in
        [("direct", ["--conv", "direct"]), ("winograd", ["--conv", "winograd"]), ("small", ["--model", "resnet8:16"])]
    {
        assert_eq!(desk.train(out, &options).1, "", "{out}");
        let config = fs::read_to_string(desk.path(out).join("config.toml")).unwrap();
        assert_eq!(config.contains("[run.convolutions]"), out == "small", "{config}");
    }
    assert!(!desk.cache.exists());
    assert_eq!(desk.train("quiet", &["--quiet"]).1, "");
    assert!(desk.file().exists());
}

#[test]
fn a_cache_that_cannot_be_read_is_warned_of_and_replaced() {
    let Some(desk) = Desk::new() else { return };
    desk.train("first", &[]);
    let whole = fs::read_to_string(desk.file()).unwrap();
    let entries = |text: &str| text.lines().filter(|line| line.starts_with("64x")).count();
    for (number, text) in ["", "{\"half\": [", &whole[..whole.len() - 12]].into_iter().enumerate() {
        fs::write(desk.file(), text).unwrap();
        let (_, said) = desk.train(&format!("again-{number}"), &[]);
        let warning = format!("sse-sam: warning: {} is ignored", desk.file().display());
        assert!(said.starts_with(&warning) && said.contains("timing convolutions of 3 shapes"), "{said}");
        assert_eq!(entries(&fs::read_to_string(desk.file()).unwrap()), 3);
        assert_eq!(desk.train(&format!("then-{number}"), &[]).1, "");
    }
}

#[test]
fn without_a_cache_every_run_chooses_for_itself() {
    let Some(mut desk) = Desk::new() else { return };
    desk.cache = desk.path("data/train-labels-idx1-ubyte/cache");
    for out in ["first", "second"] {
        let (_, said) = desk.train(out, &[]);
        assert!(said.contains("timing convolutions of 3 shapes"), "{said}");
        assert!(said.contains("warning: what was measured is kept for this run only: "), "{said}");
        assert!(fs::read_to_string(desk.path(out).join("config.toml")).unwrap().contains("[run.convolutions]"));
    }
}

#[test]
fn processes_that_choose_at_once_do_no_harm() {
    let Some(desk) = Desk::new() else { return };
    let args = |out| ["train", "--data", "data", "--eta", "15", "--model", "resnet8:32", "--epochs", "1", "--out", out];
    let all = ["a", "b", "c", "d"].map(|out| {
        let mut command = program(desk.folder.path(), &[&args(out)[..], &["--device", "opencl"]].concat());
        command.env("SSE_SAM_CACHE", &desk.cache).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for child in all {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && !stderr(&output).contains("warning"), "{}", stderr(&output));
    }
    assert_eq!(desk.train("after", &[]).1, "");
    assert_eq!(fs::read_dir(&desk.cache).unwrap().count(), 1, "nothing else is left there");
}

#[test]
fn another_driver_is_timed_by_itself() {
    let Some(desk) = Desk::new() else { return };
    desk.train("first", &[]);
    let text = fs::read_to_string(desk.file()).unwrap();
    for key in ["name = \"", "driver = \"", "compute_units = ", "kernels = \"Auto "] {
        fs::write(desk.file(), text.replace(key, &format!("{key}9"))).unwrap();
        let out = key.split(' ').next().unwrap();
        assert!(desk.train(out, &[]).1.contains("timing convolutions of 3 shapes"), "{key}");
        assert_eq!(fs::read_to_string(desk.file()).unwrap().matches("[[device]]").count(), 2, "{key}");
    }
}

#[test]
fn a_run_keeps_its_choices_whatever_becomes_of_the_cache() {
    let Some(desk) = Desk::new() else { return };
    let (whole, _) = desk.train("whole", &[]);
    desk.turn();
    assert!(desk.train("turned", &[]).0 != whole, "the choices are part of the bits");
    // The newest of those before the end: a slow disk leaves out some.
    let all = checkpoints(&desk.path("whole"));
    let unfinished = all.iter().nth_back(1).expect("a checkpoint before the last one");
    for (number, deleted) in [false, true].into_iter().enumerate() {
        if deleted {
            fs::remove_dir_all(&desk.cache).unwrap();
        }
        let names = ["resumed", "restarted", "repeated"].map(|name| format!("{name}-{number}"));
        let [resumed, restarted, repeated] = &names;
        copy_until(&desk.path("whole"), &desk.path(resumed), unfinished);
        // The checkpoint knows them too.
        let config = fs::read_to_string(desk.path("whole/config.toml")).unwrap();
        let (before, _) = config.split_once("[run.convolutions]").unwrap();
        fs::write(desk.path(resumed).join("config.toml"), before).unwrap();
        assert_eq!(desk.succeed(&["resume", resumed, "--quiet"]), "");
        // Killed before its first checkpoint.
        fs::create_dir_all(desk.path(restarted)).unwrap();
        fs::copy(desk.path("whole/config.toml"), desk.path(restarted).join("config.toml")).unwrap();
        assert_eq!(desk.succeed(&["resume", restarted, "--quiet"]), "");
        desk.succeed(&["train", "--config", "whole/config.toml", "--out", repeated, "--quiet"]);
        for name in &names {
            same(&desk.path("whole"), &desk.path(name), name);
        }
        assert_eq!(desk.cache.exists(), !deleted, "nothing was timed");
    }
}

#[test]
fn the_users_own_cache_is_used_only_where_no_other_is_named() {
    let Some(desk) = Desk::new() else { return };
    if !cfg!(target_os = "linux") {
        return skip("the system keeps caches elsewhere");
    }
    let home = desk.path("home");
    // PoCL keeps its kernels below the same folders, and would build them all anew.
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let caches = || variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let kernels = variable("POCL_CACHE_DIR").or_else(|| caches().map(|caches| caches.join("pocl/kcache")));
    let bench = |cache: Option<&Path>| {
        let args = ["bench", "--device", "opencl", "--model", "resnet8:16", "--image", "8x8x3", "--steps", "1"];
        let mut command = program(desk.folder.path(), &args);
        command
            .env("HOME", &home)
            .env_remove("XDG_CACHE_HOME")
            .env("POCL_CACHE_DIR", kernels.clone().unwrap_or_default());
        match cache {
            Some(cache) => command.env("SSE_SAM_CACHE", cache),
            None => command.env_remove("SSE_SAM_CACHE"),
        };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    let own = home.join(".cache/sse-sam");
    bench(Some(&desk.cache));
    assert!(desk.file().exists() && !own.exists());
    bench(None);
    assert!(own.join("devices.toml").exists());
}
