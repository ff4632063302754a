//! Safetensors files made to do harm, given to the reader, to `--init` and to `eval`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use safetensors::SafeTensors;
use sse_sam::weights::{self, Tensor};
use tempfile::tempdir;

use super::checkpoints::trained;
use super::memory::peak;
use super::{SLACK, is_content, program, stderr};

/// A file with this header, its true length, and these data.
pub fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A file that claims a header of this length.
fn claiming(length: u64, rest: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), rest].concat()
}

fn tensor(name: &str, dtype: &str, shape: &str, start: &str, end: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

fn two(a: [&str; 2], b: [&str; 2]) -> String {
    format!("{{{},{}}}", tensor("a", "F32", "[2]", a[0], a[1]), tensor("b", "F32", "[2]", b[0], b[1]))
}

fn one(dtype: &str, shape: &str, start: &str, end: &str) -> String {
    format!("{{{}}}", tensor("fc1.weight", dtype, shape, start, end))
}

/// Headers that contradict themselves or the eight or sixteen bytes behind them.
fn contradictions() -> Vec<(&'static str, Vec<u8>)> {
    let with = |header: String, bytes: usize| with_header(&header, &vec![0; bytes]);
    vec![
        ("overlapping offsets", with(two(["0", "8"], ["4", "12"]), 12)),
        ("the same bytes twice", with(two(["0", "8"], ["0", "8"]), 8)),
        ("a hole", with(two(["0", "8"], ["12", "20"]), 20)),
        ("a hole in front", with(one("F32", "[2]", "8", "16"), 16)),
        ("an end before the start", with(one("F32", "[2]", "8", "0"), 8)),
        ("offsets behind the file", with(one("F32", "[2]", "0", "8"), 4)),
        ("offsets of 2^63", with(one("F32", "[2]", "0", "9223372036854775808"), 8)),
        ("offsets beyond u64", with(one("F32", "[2]", "0", "18446744073709551616"), 8)),
        ("bytes behind the data", with(one("F32", "[2]", "0", "8"), 9)),
        ("data and no tensor", with("{}".into(), 8)),
        ("a type of another width", with(one("F64", "[2]", "0", "8"), 8)),
        ("a type that does not exist", with(one("F33", "[2]", "0", "8"), 8)),
        ("a type of half a byte", with(one("F4", "[3]", "0", "1"), 1)),
        ("a shape that is too large", with(one("F32", "[3]", "0", "8"), 8)),
        ("a product beyond 2^64", with(one("F32", "[4294967296,4294967296]", "0", "0"), 0)),
        ("a product of zero beyond 2^64", with(one("F32", "[4294967296,4294967296,0]", "0", "0"), 0)),
        ("bytes beyond 2^64", with(one("F32", "[4611686018427387905]", "0", "4"), 4)),
        ("a negative side", with(one("F32", "[-2]", "0", "8"), 8)),
        ("a negative offset", with(one("F32", "[2]", "-8", "0"), 8)),
        ("half an offset", with(one("F32", "[2]", "0", "8.5"), 8)),
        ("a side that is text", with(one("F32", "[\"2\"]", "0", "8"), 8)),
        ("three offsets", with(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}"#.into(), 8)),
        ("no shape", with(r#"{"a":{"dtype":"F32","data_offsets":[0,8]}}"#.into(), 8)),
        ("no offsets", with(r#"{"a":{"dtype":"F32","shape":[2]}}"#.into(), 8)),
        ("a name twice", with(format!("{{{0},{0}}}", tensor("a", "F32", "[2]", "0", "8")), 8)),
        ("metadata twice", with(r#"{"__metadata__":{"a":"b"},"__metadata__":{"a":"c"}}"#.into(), 0)),
        ("metadata that are numbers", with(r#"{"__metadata__":{"a":1}}"#.into(), 0)),
        ("metadata that are a list", with(r#"{"__metadata__":[]}"#.into(), 0)),
        ("a field twice", with(r#"{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#.into(), 8)),
    ]
}

/// Files whose header is none.
fn no_headers() -> Vec<(&'static str, Vec<u8>)> {
    let mut invalid = with_header(&one("F32", "[2]", "0", "8"), &[0; 8]);
    invalid[12] = 0xff;
    vec![
        ("nothing", vec![]),
        ("half a length", vec![1, 0, 0]),
        ("a header of no bytes", claiming(0, &[])),
        ("a header of 2^64 - 1 bytes", claiming(u64::MAX, b"{}")),
        ("a header of 2^63 bytes", claiming(1 << 63, b"{}")),
        ("a header of 100 MB in a small file", claiming(100_000_000, b"{}")),
        ("a header that ends behind the file", claiming(3, b"{}")),
        ("a header that ends in mid-word", claiming(20, one("F32", "[2]", "0", "8").as_bytes())),
        ("invalid UTF-8", invalid),
        ("an invalid escape", with_header(r#"{"\ud800":{}}"#, &[])),
        ("deep nesting", with_header(&"[".repeat(1 << 20), &[])),
        ("deeply nested objects", with_header(&"{\"a\":".repeat(1 << 18), &[])),
        ("deep nesting in an unknown field", with_header(&format!("{{\"a\":{{\"x\":{}", "[".repeat(1 << 20)), &[])),
        ("a list", with_header("[]", &[])),
        ("a number", with_header("7", &[])),
        ("text behind the header", with_header("{} x", &[])),
        ("a pickle", [&b"\x80\x02}q\x00"[..], &[0; 100]].concat()),
        ("an archive", [&b"PK\x03\x04"[..], &[0; 100]].concat()),
        ("a thousand million zeros as a number", with_header(&format!("{{\"a\":1{}}}", "0".repeat(1 << 20)), &[])),
    ]
}

#[test]
fn what_the_format_forbids_is_refused_quickly_and_in_little_memory() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("bad.safetensors");
    for (what, bytes) in contradictions().into_iter().chain(no_headers()) {
        fs::write(&path, &bytes).unwrap();
        let started = Instant::now();
        let (result, held) = peak(|| weights::read(&path));
        let error = result.err().unwrap_or_else(|| panic!("{what} is not noticed"));
        assert!(is_content(&error), "{what}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(1), "{what}: {:?}", started.elapsed());
        assert!(held < 2 * bytes.len() + SLACK, "{what}: {held} bytes of memory for {}", bytes.len());
        // The format's own reader refuses it too, but for names that stand twice.
        assert!(
            what.contains("twice") || what.contains("half an offset") || SafeTensors::deserialize(&bytes).is_err(),
            "{what}"
        );
    }
}

#[test]
fn many_small_tensors_are_read_in_a_second() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("many.safetensors");
    let mut header = String::from("{");
    for number in 0..100_000 {
        let comma = if number == 0 { "" } else { "," };
        write!(header, "{comma}{}", tensor(&format!("t{number}"), "F32", "[0]", "0", "0")).unwrap();
    }
    header.push('}');
    fs::write(&path, with_header(&header, &[])).unwrap();
    let started = Instant::now();
    assert_eq!(weights::read(&path).unwrap().0.len(), 100_000);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let (result, elapsed) = given(folder.path(), "--init", "many.safetensors");
    assert!(result.contains("the model has no tensor t"), "{result}");
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

/// What the program says to a weights file, given as initial weights or to `eval`, and how long it took.
#[track_caller]
fn given(folder: &Path, how: &str, file: &str) -> (String, Duration) {
    let train = ["train", "--device", "cpu", "--out", "out", "--model", "mlp:64-3-10", "--init", file];
    let args = if how == "eval" { &["eval", "--device", "cpu", file][..] } else { &train };
    let started = Instant::now();
    let output = program(folder, args);
    let (text, elapsed) = (stderr(&output), started.elapsed());
    assert_eq!(output.status.code(), Some(1), "{how}: {text}");
    assert!(text.starts_with(&format!("sse-sam: {file}: ")) && !text.contains("panicked"), "{how}: {text}");
    assert!(output.stdout.is_empty() && !folder.join("out").exists(), "{how} left something");
    (text, elapsed)
}

#[test]
fn init_and_eval_refuse_harmful_files_with_a_sentence() {
    let folder = tempdir().unwrap();
    let good = trained(folder.path(), "mlp:64-3-10");
    let (tensors, metadata) = weights::read(&good).unwrap();
    let path = folder.path().join("bad.safetensors");
    let check = |what: &str| {
        for how in ["--init", "eval"] {
            let (text, elapsed) = given(folder.path(), how, "bad.safetensors");
            assert!(elapsed < Duration::from_secs(3), "{what}, {how}: {elapsed:?}");
            assert!(text.lines().next().unwrap().len() > "sse-sam: bad.safetensors: ".len() + 10, "{what}: {text}");
        }
    };
    for (what, bytes) in contradictions().into_iter().chain(no_headers()) {
        fs::write(&path, bytes).unwrap();
        check(what);
    }
    let change = |what: &str, change: &dyn Fn(&mut Vec<Tensor>)| {
        let mut changed: Vec<Tensor> = tensors.iter().filter(|tensor| !tensor.name.contains('/')).cloned().collect();
        change(&mut changed);
        weights::write(&path, &changed, &metadata).unwrap();
        check(what);
    };
    let first = tensors.iter().position(|tensor| tensor.name == "fc1.weight").unwrap();
    let shape = tensors[first].shape.clone();
    let count = shape.iter().product::<usize>();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![0.5; count];
        values[count - 1] = bad;
        change("a number that is not finite", &|list| {
            let weight = list.iter_mut().find(|tensor| tensor.name == "fc1.weight").unwrap();
            *weight = Tensor::f32("fc1.weight", &shape, values.clone());
        });
    }
    change("a tensor too many", &|list| list.push(Tensor::f32("fc9.weight", &[0], vec![])));
    change("a tensor too few", &|list| list.retain(|tensor| tensor.name != "fc1.weight"));
    change("a tensor without numbers", &|list| {
        list.iter_mut()
            .filter(|tensor| tensor.name == "fc1.weight")
            .for_each(|tensor| *tensor = Tensor::f32("fc1.weight", &[0, 64], vec![]));
    });
    change("a tensor of integers", &|list| {
        list.iter_mut()
            .filter(|tensor| tensor.name == "fc1.weight")
            .for_each(|tensor| *tensor = Tensor::i64("fc1.weight", 1));
    });
}

#[test]
fn metadata_that_lie_are_refused_by_eval() {
    let folder = tempdir().unwrap();
    let (tensors, metadata) = weights::read(&trained(folder.path(), "mlp:64-3-10")).unwrap();
    let path = folder.path().join("bad.safetensors");
    let lies = [
        ("model", "mlp:18446744073709551615-18446744073709551615"),
        ("model", "mlp:64-99999999999-10"),
        ("model", "resnet20:4294967295"),
        ("model", "x"),
        ("model", ""),
        ("image", "4294967295x4294967295x4294967295"),
        ("image", "0x0x1"),
        ("image", "8x8"),
        ("image", "-8x8x1"),
        ("class_counts", ""),
        ("class_counts", "1,2"),
        ("class_counts", "99999999999999999999"),
        ("eta", "-1"),
        ("many", "1e99"),
        ("byte_mean", "0,0"),
        ("dataset", "imagenet"),
        ("data", "/nowhere\u{0}"),
        ("data", "nowhere"),
    ];
    for (key, value) in lies {
        let mut metadata = metadata.clone();
        metadata.insert(key.into(), value.into());
        weights::write(&path, &tensors, &metadata).unwrap();
        let started = Instant::now();
        let output = program(folder.path(), &["eval", "--device", "cpu", "bad.safetensors"]);
        let text = stderr(&output);
        assert!(started.elapsed() < Duration::from_secs(3), "{key} {value}: {:?}", started.elapsed());
        let refused = matches!(output.status.code(), Some(1 | 2));
        assert!(
            refused && text.starts_with("sse-sam: ") && !text.contains("panicked"),
            "{key} {value}: {:?} {text}",
            output.status
        );
    }
}
