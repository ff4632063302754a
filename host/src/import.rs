//! The `import` command: weights that firmware printed, as a weights file again.

use std::fs;
use std::path::Path;

use crate::args::ImportArgs;
use crate::error::Error;
use crate::numbers::Numbers;
use crate::progress::say;
use crate::state::Weights;
use crate::weights;

/// What a line of numbers begins with.
const WORD: &str = "weights";

/// Reads numbers as firmware printed them and writes them in place of those of a file.
///
/// # Errors
/// [`Error::File`] when the dump is damaged or has another number of numbers than the network, [`Error::Weights`] when
/// `--like` is no weights file of this program.
pub fn run(args: &ImportArgs) -> Result<(), Error> {
    let like = Weights::read(&args.like)?;
    let mut numbers = Numbers::new(&like)?;
    let bytes = fs::read(&args.dump).map_err(|source| Error::io(&args.dump, source))?;
    let values = parse(&args.dump, &String::from_utf8_lossy(&bytes))?;
    let (model, expected) = (&like.description.model, numbers.values()?.len());
    if values.len() != expected {
        let message = format!("holds {} numbers; {model} takes {expected}", values.len());
        let hint =
            format!("a line of numbers is the word {WORD} and the bits of floats, eight hexadecimal digits each");
        return Err(Error::file(&args.dump, message).with_hint(hint));
    }
    numbers.replace(&values)?;
    weights::write(&args.out, &numbers.tensors()?, &like.description.metadata())?;
    say(&format!("{}: {expected} numbers of {model}", args.out.display()))
}

fn parse(path: &Path, text: &str) -> Result<Vec<f32>, Error> {
    let mut values = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some(WORD) {
            continue;
        }
        for word in words {
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
