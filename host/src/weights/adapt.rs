//! A `state_dict` from elsewhere: other names for the same layers, and a head for other classes.

use std::collections::BTreeSet;
use std::path::Path;

use crate::device::layout::Layout;
use crate::error::Error;
use crate::report::Observer;
use crate::weights::Tensor;
use crate::weights::torch::{Entry, entries};

/// What other code calls the last layer.
const HEADS: [&str; 10] =
    ["fc", "linear", "classifier", "head", "heads", "last_linear", "output", "out", "logits", "cls"];

/// The same tensors under the network's own names, where they have others that are usual: behind a wrapper's prefix that all
/// share (`module.`, `model.`, `_orig_mod.`), with `shortcut` for `downsample`, or with another name for the last layer.
/// What a checkpoint holds beside a state stays as it is.
///
/// # Errors
/// As [`entries`].
pub fn adapt(layout: &Layout, tensors: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
    Ok(unwrap(layout, tensors)?.0)
}

/// The adapted tensors, and the prefix that was left out.
fn unwrap(layout: &Layout, mut tensors: Vec<Tensor>) -> Result<(Vec<Tensor>, Option<String>), Error> {
    let entries = entries(layout)?;
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok((tensors, None)) };
    let Some(head) = last.name.rsplit_once('.').map(|(head, _)| head.to_owned()) else { return Ok((tensors, None)) };
    // Weight averaging counts beside the wrapped model.
    tensors.retain(|tensor| tensor.name != "n_averaged");
    let prefix = shared_prefix(&tensors, &first.name);
    if let Some(prefix) = &prefix {
        rename(&mut tensors, |name| unwrapped(prefix, name).map(String::from));
    }
    if entries.iter().any(|entry| entry.name.contains(".downsample.")) {
        rename(&mut tensors, |name| {
            name.contains(".shortcut.").then(|| name.replacen(".shortcut.", ".downsample.", 1))
        });
    }
    if let Some(other) = other_name(&tensors, &head) {
        let rest = |name: &str| name.strip_prefix(&other).filter(|rest| rest.starts_with('.')).map(String::from);
        rename(&mut tensors, |name| rest(name).map(|rest| format!("{head}{rest}")));
    }
    Ok((tensors, prefix))
}

/// What a state calls the last layer that has another name here: one linear layer, which may stand in a sequence with what has
/// no numbers (`classifier.1`) or in a part of its own (`head.fc`).
fn other_name(tensors: &[Tensor], head: &str) -> Option<String> {
    let find = |layer: &str| tensors.iter().find(|tensor| tensor.name.strip_prefix(layer) == Some(".weight"));
    if find(head).is_some() {
        return None;
    }
    HEADS.into_iter().find_map(|part| {
        let names = tensors.iter().map(|tensor| &*tensor.name).filter(|name| is_within(name, part));
        let layers: BTreeSet<&str> = names.filter_map(|name| Some(name.rsplit_once('.')?.0)).collect();
        let layer = layers.first().filter(|layer| layers.len() == 1 && layer.split('.').count() <= 2)?;
        find(layer).filter(|weight| weight.shape.len() == 2).map(|_| (*layer).to_owned())
    })
}

/// Whether a tensor belongs to a part of a network.
fn is_within(name: &str, part: &str) -> bool {
    name.strip_prefix(part).is_some_and(|rest| rest.starts_with('.'))
}

fn rename(tensors: &mut [Tensor], new: impl Fn(&str) -> Option<String>) {
    for tensor in tensors.iter_mut().filter(|tensor| !tensor.name.contains('/')) {
        if let Some(name) = new(&tensor.name) {
            tensor.name = name;
        }
    }
}

/// What stands, up to a dot, in front of every name of a state but those of a last layer beside the rest (`backbone.conv1`, `fc`),
/// where the first layer's is not there without it.
fn shared_prefix(tensors: &[Tensor], first: &str) -> Option<String> {
    let names = || tensors.iter().map(|tensor| tensor.name.as_str()).filter(|name| !name.contains('/'));
    if names().any(|name| name == first) {
        return None;
    }
    let mut prefixes = names().filter_map(|name| name.strip_suffix(first)).filter(|prefix| prefix.ends_with('.'));
    let fits = |prefix: &&str| {
        let all: Option<BTreeSet<&str>> = names().map(|name| unwrapped(prefix, name)).collect();
        all.is_some_and(|all| all.len() == names().count())
    };
    prefixes.find(fits).map(String::from)
}

/// A name without a prefix, or that of a last layer beside what has the prefix.
fn unwrapped<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    let outer = prefix.trim_end_matches('.').rfind('.').map_or("", |dot| &prefix[..=dot]);
    let beside = || name.strip_prefix(outer).filter(|rest| HEADS.iter().any(|part| is_within(rest, part)));
    name.strip_prefix(prefix).or_else(beside)
}

/// The tensors to start training from: adapted, and with a last layer out of `drawn`, the state of a run that starts from
/// nothing, where theirs is for other classes or is not there, which is said.
///
/// # Errors
/// As [`entries`] and `drawn`.
pub fn initial(
    layout: &Layout,
    path: &Path,
    tensors: Vec<Tensor>,
    drawn: impl FnOnce() -> Result<Vec<Tensor>, Error>,
    observer: &dyn Observer,
) -> Result<Vec<Tensor>, Error> {
    let (mut tensors, prefix) = unwrap(layout, tensors)?;
    if let Some(prefix) = prefix {
        observer.warn(&format!("{}: {prefix} is left out in front of names", path.display()));
    }
    let entries = entries(layout)?;
    let head = match &entries[..] {
        [rest @ .., weight, bias] if has_all(&tensors, rest) => [weight, bias],
        _ => return Ok(tensors),
    };
    // What the network has no place for may be its last layer, under a name that is not known.
    let is_known = |name: &str| name.contains('/') || name.ends_with(".num_batches_tracked");
    let is_whole = tensors.iter().all(|tensor| is_known(&tensor.name) || entries.iter().any(|e| e.name == tensor.name));
    let found = other_head(&tensors, head).filter(|_| is_whole);
    let Some(found) = found else { return Ok(tensors) };
    tensors.retain(|tensor| head.iter().all(|entry| entry.name != tensor.name));
    tensors.extend(drawn()?.into_iter().filter(|tensor| head.iter().any(|entry| entry.name == tensor.name)));
    let (name, classes) = (&head[0].name, head[0].shape.first().unwrap_or(&0));
    observer.warn(&format!("{}: {found}: {name} and its bias are drawn anew for {classes} classes", path.display()));
    Ok(tensors)
}

fn has_all(tensors: &[Tensor], entries: &[Entry]) -> bool {
    entries.iter().all(|entry| tensors.iter().any(|tensor| tensor.name == entry.name && tensor.shape == entry.shape))
}

/// Why the last layer of a state is none for this network, where another number of classes is all that differs.
fn other_head(tensors: &[Tensor], [weight, bias]: [&Entry; 2]) -> Option<String> {
    let find = |entry: &Entry| tensors.iter().find(|tensor| tensor.name == entry.name).map(|tensor| &tensor.shape[..]);
    match (find(weight), find(bias)) {
        (None, None) => Some("has no last layer".into()),
        (Some(&[classes, inputs]), None | Some(_))
            if weight.shape.get(1) == Some(&inputs)
                && weight.shape.first() != Some(&classes)
                && find(bias).is_none_or(|shape| shape == [classes]) =>
        {
            Some(format!("its last layer is for {classes} classes"))
        }
        _ => None,
    }
}
