//! A report in a real browser: no error, numbers under the pointer, names that hide. Skips where there is no Chromium.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::*;

/// The browser's program, or None, said once.
fn chromium() -> Option<String> {
    let named = std::env::var("SSE_SAM_CHROMIUM").unwrap_or_else(|_| "chromium".into());
    let found = Command::new(&named).args(["--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(named);
    }
    assert!(std::env::var_os("SSE_SAM_REQUIRE_CHROMIUM").is_none(), "there is no {named}");
    let _ = writeln!(std::io::stderr(), "skipped: there is no Chromium");
    None
}

/// What a page becomes in the browser, what it says on its console, and how long that took.
fn opened(browser: &str, page: &Path, options: &[&str]) -> (String, String, Duration) {
    let profile = tempdir().unwrap();
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(options).arg("--dump-dom");
    let started = Instant::now();
    let output = command.arg(format!("file://{}", page.display())).output().unwrap();
    let took = started.elapsed();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let console: String = text(&output.stderr).lines().filter(|line| line.contains("CONSOLE")).collect();
    (text(&output.stdout), console, took)
}

/// What a test does in the page; it leaves words in the document's title.
const SCRIPT: &str = "
const chart = [...document.querySelectorAll('svg.chart')].find((one) => one.textContent.includes('Balanced accuracy on the test'));
const box = chart.getBoundingClientRect();
const [left, right] = chart.dataset.box.split(' ').map(Number);
const at = (share) => box.left + (left + (right - left) * share) * box.width / 720;
const move = (share) => chart.dispatchEvent(new PointerEvent('pointermove',
  { clientX: at(share), clientY: box.top + box.height / 2, bubbles: true }));
move(1); const end = tip.textContent; move(0); const start = tip.textContent;
const key = chart.querySelector('.key'); key.dispatchEvent(new MouseEvent('click', { bubbles: true }));
move(1); const without = tip.textContent;
const hidden = getComputedStyle(chart.querySelector('.series')).display;
key.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }));
const again = getComputedStyle(chart.querySelector('.series')).display;
chart.dispatchEvent(new PointerEvent('pointerleave'));
document.title = JSON.stringify({ end, start, without, hidden, again, gone: tip.hidden });
";

#[test]
fn a_page_has_no_error_shows_numbers_and_hides_series() {
    let Some(browser) = chromium() else { return };
    let folder = copied();
    // A name that would begin a comment and a script.
    let name = folder.path().join("all/<!--<script>'&\"");
    fs::rename(folder.path().join("all/sgd-ce-seed1"), name).unwrap();
    let text = page(folder.path(), &["all"]);
    let (plain, test) = (folder.path().join("page.html"), folder.path().join("test.html"));
    fs::write(&test, text.replace("</body>", &format!("<script>{SCRIPT}</script></body>"))).unwrap();
    let (dom, console, _) = opened(&browser, &plain, &[]);
    assert_eq!(console, "");
    assert!(dom.contains("<h2 id=\"runs\">"), "{dom}");
    for options in [["--window-size=400,900"], ["--window-size=1400,900"]] {
        let (dom, console, _) = opened(&browser, &test, &options);
        assert_eq!(console, "");
        let title = dom.split_once("<title>").unwrap().1.split_once("</title>").unwrap().0.replace("&quot;", "\"");
        let said: Value = serde_json::from_str(&title).unwrap_or_else(|error| panic!("{error}: {title}"));
        let mean = |arm: usize| json(folder.path())["arms"][arm]["last"]["balanced"]["mean"].as_f64().unwrap();
        let told: Vec<&str> = said["end"].as_str().unwrap().lines().collect();
        assert_eq!(told[0], "epoch 3");
        for (line, arm) in told[1..].iter().zip([0, 1]) {
            let (name, number) = line.split_once("  ").unwrap();
            assert_eq!(name, ["sgd", "sse-sam"][arm]);
            assert!((number.parse::<f64>().unwrap() - mean(arm)).abs() < 0.001, "{line} and {}", mean(arm));
        }
        assert!(said["start"].as_str().unwrap().starts_with("epoch 0\nsgd  "), "{said}");
        let without = said["without"].as_str().unwrap();
        assert!(!without.contains("sgd  ") && without.contains("sse-sam  "), "{said}");
        assert_eq!((&said["hidden"], &said["again"], &said["gone"]), (&"none".into(), &"inline".into(), &true.into()));
    }
}

#[test]
fn a_page_of_forty_runs_opens_within_two_seconds() {
    let Some(browser) = chromium() else { return };
    let folder = copied();
    many(folder.path(), 20);
    fs::write(folder.path().join("empty.html"), "<!doctype html><title>empty</title>").unwrap();
    page(folder.path(), &["all"]);
    let least = |name: &str| (0..3).map(|_| opened(&browser, &folder.path().join(name), &[]).2).min().unwrap();
    // The browser's own start is not the page's.
    let (empty, full) = (least("empty.html"), least("page.html"));
    assert!(full.saturating_sub(empty) < Duration::from_secs(2), "{full:?}, an empty page {empty:?}");
    println!("{full:?}, an empty page {empty:?}");
}
