//! The `import` command: weights that firmware printed, as a weights file again.

use std::fs;
use std::path::Path;

use crate::cli::args::ImportArgs;
use crate::cli::firmware::numbers::Numbers;
use crate::error::Error;
use crate::report::Observer;
use crate::report::console::{Console, say};
use crate::shown;
use crate::weights::{Encoded, Out, Weights};

/// What a line of numbers begins with.
const WORD: &str = "weights";

/// Reads numbers as firmware printed them and writes them in place of those of a file.
///
/// # Errors
/// [`Error::File`] when the dump is damaged or has another number of numbers than the network, [`Error::Weights`] when
/// `--like` is no weights file of this program.
pub fn run(args: &ImportArgs, console: &Console) -> Result<(), Error> {
    let out = Out::new("--out", &args.out, &[&args.dump, &args.like])?;
    let like = Weights::read(&args.like, console)?;
    let mut numbers = Numbers::new(&like)?;
    let bytes = fs::read(&args.dump).map_err(|source| Error::io(&args.dump, source))?;
    let mut values = parse(&args.dump, &text(&bytes))?;
    let (model, expected) = (&like.description.model, numbers.values()?.len());
    let dumps = values.len().checked_div(expected).filter(|dumps| dumps * expected == values.len());
    if let Some(dumps) = dumps.filter(|&dumps| dumps > 1) {
        console.warn(&format!("{}: holds {dumps} dumps: the last one is taken", args.dump.display()));
        values.drain(..(dumps - 1) * expected);
    }
    if values.len() != expected {
        let message = format!("holds {} numbers; {model} takes {expected}", values.len());
        let hint =
            format!("a line of numbers is the word {WORD} and the bits of floats, eight hexadecimal digits each");
        return Err(Error::file(&args.dump, message).with_hint(hint));
    }
    numbers.replace(&args.dump, &values)?;
    let tensors = numbers.tensors();
    let encoded = Encoded::new(&args.out, &tensors, &like.description.metadata())?;
    out.write(|file| encoded.write(file))?;
    // A stream may be standard output.
    if out.is_stream() {
        return Ok(());
    }
    say(&format!("{}: {expected} numbers of {model}", shown::path(&args.out)))
}

/// A console's log as text: in UTF-16 too, as Windows' shell writes what is redirected, and without what colours it.
fn text(bytes: &[u8]) -> String {
    let wide = |convert: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).filter_map(|pair| pair.first_chunk().copied().map(convert));
        char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>()
    };
    let text = match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    plain(&text)
}

/// The text without escape sequences (ECMA-48) and other control characters; a carriage return ends a line too.
fn plain(text: &str) -> String {
    let (mut plain, mut letters) = (String::with_capacity(text.len()), text.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' if letters.next_if_eq(&'[').is_some() => {
                // Parameters, then one letter.
                while letters.next_if(|letter| (' '..='?').contains(letter)).is_some() {}
                letters.next_if(|letter| ('@'..='~').contains(letter));
            }
            '\x1b' if letters.next_if_eq(&']').is_some() => {
                // A title, up to a bell, or to the escape of its terminator.
                while letters.next_if(|letter| !matches!(letter, '\x07' | '\x1b' | '\n')).is_some() {}
            }
            // Character sets and the like.
            '\x1b' => {
                while letters.next_if(|letter| (' '..='/').contains(letter)).is_some() {}
                letters.next_if(|letter| ('0'..='~').contains(letter));
            }
            '\r' | '\n' => {
                letters.next_if(|&next| letter == '\r' && next == '\n');
                plain.push('\n');
            }
            '\t' => plain.push(' '),
            letter if letter.is_control() => {}
            letter => plain.push(letter),
        }
    }
    plain
}

/// The numbers of a line, where it is one of numbers: the word stands in front, or behind what a console puts there and before
/// a number. A damaged number still has digits; other words behind it make a sentence of the line.
fn numbers(line: &str) -> Option<&str> {
    let behind = |start: usize| line.get(start + WORD.len()..).filter(|rest| rest.is_empty() || rest.starts_with(' '));
    let is_number = |word: &str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    line.match_indices(WORD).find_map(|(start, _)| {
        let (front, rest) = (&line[..start], behind(start)?);
        let is_apart = !front.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
        let counts = front.trim().is_empty() || rest.split_ascii_whitespace().any(is_number);
        let may_be = |word: &str| is_number(word) || word.bytes().any(|byte| byte.is_ascii_digit());
        (is_apart && counts && rest.split_ascii_whitespace().all(may_be)).then_some(rest)
    })
}

fn parse(path: &Path, text: &str) -> Result<Vec<f32>, Error> {
    let mut values = Vec::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        for word in numbers(line).unwrap_or_default().split_ascii_whitespace() {
            // A sign would be read too.
            let digits = word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            let bits = u32::from_str_radix(word, 16).ok().filter(|_| digits);
            let refuse = |what: &str| Err(Error::file(path, format!("line {number}: {word} {what}")));
            match bits.map(f32::from_bits) {
                Some(value) if value.is_finite() => values.push(value),
                Some(_) => return refuse("are the bits of a number that is not finite"),
                None => return refuse("is not eight hexadecimal digits"),
            }
        }
    }
    Ok(values)
}
