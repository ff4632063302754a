//! The `footprint` command: what training takes of a chip's memory, from the plan that the chip would make.

use std::fmt::Write;

use clap::ValueEnum;
use serde::Serialize;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::{Arena, Error as CoreError, Graph, Memory, Model, Plan, Row, Shape, Vectors};

use crate::cli::args::FootprintArgs;
use crate::cli::bench;
use crate::device::layout::first_trained;
use crate::error::Error;
use crate::recipe::resolved;
use crate::recipe::words::{MemoryName, MethodName};
use crate::report::console::say;

/// Numbers that a step leaves behind: the losses of two groups at two points, the squared norms of the update's gradient
/// and of both groups', and the failed step's.
const SLOTS: usize = 8;

/// Memory of one form of one method, in `f32` of work memory.
#[derive(Clone, Debug, Serialize)]
struct Form {
    method: String,
    memory: String,
    /// Forward and backward passes of a batch in a step: in the first stage, where there are two.
    passes: [usize; 2],
    /// How many vectors as long as the trained parameters.
    vectors: usize,
    vectors_f32: usize,
    activations_f32: usize,
    gradients_f32: usize,
    statistics_f32: usize,
    /// The loss's tables, the batch's table, labels, weights, and what a step leaves behind.
    tables_f32: usize,
    total_f32: usize,
    total_bytes: usize,
}

/// The line of `--json`.
#[derive(Debug, Serialize)]
struct Footprint {
    model: String,
    image: String,
    classes: usize,
    batch: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    micro_batch: Option<usize>,
    /// Parameters that are trained.
    parameters: usize,
    /// `f32` of constant memory: parameters and running statistics of frozen layers.
    frozen_f32: usize,
    forms: Vec<Form>,
    /// Evaluation alone, all parameters in constant memory.
    inference: Form,
    /// `f32` of the arena of the method and memory that were named.
    arena_f32: usize,
    /// What that arena has less than one in which every layer is trained.
    saved_f32: usize,
}

/// A network as a chip plans it.
struct Chip {
    graph: Graph<MAX_LAYERS>,
    first: usize,
    batch: usize,
    piece: Option<usize>,
}

/// The `footprint` command.
///
/// # Errors
/// [`Error::Usage`] for what the command line must change, [`Error::Core`] when the model does not fit the images.
pub fn run(args: &FootprintArgs) -> Result<(), Error> {
    let footprint = Footprint::new(args)?;
    say(&footprint.table(args))?;
    if !args.json {
        return Ok(());
    }
    say(&serde_json::to_string(&footprint).map_err(|error| Error::io("standard output", error.into()))?)
}

impl Chip {
    fn plan(&self, streams: usize, arena: &mut Arena) -> Result<Plan<MAX_LAYERS>, Error> {
        Ok(Plan::fine_tuning(&self.graph, self.first, self.piece.unwrap_or(self.batch), streams, arena)?)
    }

    /// The network with every layer trained; its batches pass whole where they could not pass in pieces.
    fn all_trained(&self) -> Result<Self, Error> {
        let all = Self { graph: self.graph.clone(), first: 0, batch: self.batch, piece: self.piece };
        let separable = all.plan(1, &mut Arena::new(1))?.is_separable();
        Ok(Self { piece: self.piece.filter(|_| separable), ..all })
    }

    fn form(&self, name: MethodName, memory: MemoryName) -> Result<Form, Error> {
        let (method, form) = (bench::method(name, 1), memory.memory());
        let present = method.groups(0, 1)?.all();
        let (points, groups) = (method.points(1)?, present.iter().count());
        let streams = if self.piece.is_some() { 1 } else { form.streams(&present) };
        let mut arena = Arena::new(1);
        let plan = self.plan(streams, &mut arena)?;
        let planned = arena.len();
        Vectors::in_memory(form, &mut arena, plan.parameters(), points)?;
        let vectors_f32 = arena.len() - planned;
        arena.allocate(self.batch * Row::WORDS)?;
        arena.allocate(SLOTS + usize::from(self.piece.is_some()))?;
        let again = usize::from(form == Memory::Recompute && points == 2);
        let passes = match self.piece {
            Some(_) => [1 + points.min(1); 2],
            None => [1 + points + again, groups + points],
        };
        let usage = plan.usage();
        Ok(Form {
            method: word(&name),
            memory: word(&memory),
            passes,
            vectors: form.vectors(points),
            vectors_f32,
            activations_f32: usage.activations,
            gradients_f32: usage.gradients,
            statistics_f32: usage.statistics,
            tables_f32: arena.len() - vectors_f32 - usage.activations - usage.gradients - usage.statistics,
            total_f32: arena.len(),
            total_bytes: 4 * arena.len(),
        })
    }

    fn inference(&self) -> Result<Form, Error> {
        let mut arena = Arena::new(1);
        let usage = Plan::inference(&self.graph, self.batch, &mut arena)?.usage();
        arena.allocate(self.batch * Row::WORDS)?;
        Ok(Form {
            method: "inference".into(),
            memory: String::new(),
            passes: [1, 0],
            vectors: 0,
            vectors_f32: 0,
            activations_f32: usage.activations,
            gradients_f32: 0,
            statistics_f32: 0,
            tables_f32: arena.len() - usage.activations,
            total_f32: arena.len(),
            total_bytes: 4 * arena.len(),
        })
    }
}

impl Footprint {
    fn new(args: &FootprintArgs) -> Result<Self, Error> {
        let model = resolved::model(&args.model)?;
        // A perceptron's images are grey, unless it is said otherwise: channels have tables of their own.
        let grey = |usual: Shape| if matches!(model, Model::Mlp(_)) { Shape::new(1, usual.len(), 1) } else { usual };
        let (usual, classes) = bench::data(None, args.classes, &model);
        let image = args.image.unwrap_or_else(|| grey(usual));
        let mut graph = Graph::new();
        model.build(&mut graph, image, classes)?;
        let first = first_trained(&graph, args.trainable_layers.as_deref())?;
        let batch = args.batch as usize;
        if args.micro_batch.is_some_and(|rows| rows > args.batch) {
            let message = format!("--micro-batch does nothing here: it must be at most the batch, {batch}");
            return Err(Error::Usage(message));
        }
        let piece = args.micro_batch.map(|rows| rows as usize);
        let chip = Chip { graph, first, batch, piece };
        let plan = chip.plan(1, &mut Arena::new(1))?;
        if piece.is_some() && !plan.is_separable() {
            return Err(Error::Usage(format!("--micro-batch: {}", CoreError::Pieces)));
        }
        let mut forms = Vec::new();
        for method in MethodName::value_variants() {
            for memory in MemoryName::value_variants() {
                forms.push(chip.form(*method, *memory)?);
            }
        }
        let arena_f32 = chip.form(args.method, args.memory)?.total_f32;
        let whole = chip.all_trained()?.form(args.method, args.memory)?.total_f32;
        let Shape { height, width, channels } = image;
        Ok(Self {
            model: model.to_string(),
            image: format!("{height}x{width}x{channels}"),
            classes,
            batch,
            micro_batch: piece,
            parameters: plan.trainable(),
            frozen_f32: plan.frozen().length,
            forms,
            inference: chip.inference()?,
            arena_f32,
            saved_f32: whole.saturating_sub(arena_f32),
        })
    }

    /// The table for people.
    fn table(&self, args: &FootprintArgs) -> String {
        let Self { model, image, classes, batch, parameters, frozen_f32, arena_f32, .. } = self;
        let pieces = self.micro_batch.map_or_else(String::new, |rows| format!(" in pieces of {rows}"));
        let mut text = format!(
            "{model} on {image}, {classes} classes, batch {batch}{pieces}, {parameters} parameters trained; in f32 of work memory\n\n"
        );
        let head = ["method", "memory", "passes", "vectors", "", "activations", "gradients", "statistics", "tables"];
        line(&mut text, head.map(String::from), "total", "bytes");
        for form in self.forms.iter().chain([&self.inference]) {
            let [forward, backward] = form.passes;
            let words = [
                form.method.clone(),
                form.memory.clone(),
                format!("{forward} + {backward}"),
                form.vectors.to_string(),
                form.vectors_f32.to_string(),
                form.activations_f32.to_string(),
                form.gradients_f32.to_string(),
                form.statistics_f32.to_string(),
                form.tables_f32.to_string(),
            ];
            line(&mut text, words, &form.total_f32.to_string(), &form.total_bytes.to_string());
        }
        if *frozen_f32 > 0 {
            let saved = self.saved_f32;
            let _ = write!(
                text,
                "\n{frozen_f32} numbers of frozen layers lie in constant memory ({} bytes); that saves {saved} f32 ({} bytes) of work memory\n",
                4 * frozen_f32,
                4 * saved
            );
        }
        let _ = write!(
            text,
            "\narena of {} in {} memory\n  Rust  pub const ARENA: usize = {arena_f32}; // static [f32; ARENA]\n  \
             C     #define SSE_SAM_ARENA {arena_f32} /* static float[SSE_SAM_ARENA] */",
            word(&args.method),
            word(&args.memory)
        );
        text
    }
}

fn line(text: &mut String, words: [String; 9], total: &str, bytes: &str) {
    let [method, memory, passes, vectors, numbers, activations, gradients, statistics, tables] = words;
    let _ = writeln!(
        text,
        "{method:<9}  {memory:<9}  {passes:<6}  {vectors:>7} {numbers:>9}  {activations:>11}  {gradients:>9}  \
         {statistics:>10}  {tables:>7}  {total:>9}  {bytes:>10}"
    );
}

/// A name as it is written on the command line.
fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(model: &str, image: Shape, piece: Option<usize>) -> Chip {
        let mut graph = Graph::new();
        model.parse::<sse_sam_core::Model>().unwrap().build(&mut graph, image, 10).unwrap();
        Chip { graph, first: 0, batch: 16, piece }
    }

    #[test]
    fn a_perceptrons_label_is_computed_by_hand() {
        let chip = chip("mlp:64-32-10", Shape::new(8, 8, 1), None);
        let form = chip.form(MethodName::SseSam, MemoryName::Full).unwrap();
        let parameters = 65 * 32 + 33 * 10;
        assert_eq!((form.vectors, form.vectors_f32), (5, 5 * parameters));
        assert_eq!(form.activations_f32, 16 * (64 + 32 + 32 + 10));
        // Two blocks of 32 values, for head and tail each.
        assert_eq!(form.gradients_f32, 16 * 2 * 2 * 32);
        // Labels and two weights, three tables of the loss, mean and deviation, the batch's rows, eight slots.
        assert_eq!(form.tables_f32, 16 * 3 + 3 * 10 + 2 + 16 * 4 + 8);
        let sum = form.vectors_f32 + form.activations_f32 + form.gradients_f32 + form.tables_f32;
        assert_eq!((form.total_f32, form.total_bytes), (sum, 4 * sum));
    }

    #[test]
    fn passes_are_those_of_the_first_stage() {
        let passes = |piece, memory| {
            let chip = chip("mlp:64-32-10", Shape::new(8, 8, 1), piece);
            MethodName::value_variants().iter().map(|&m| chip.form(m, memory).unwrap().passes).collect::<Vec<_>>()
        };
        assert_eq!(passes(None, MemoryName::Full), [[1, 1], [2, 2], [2, 3], [3, 4]]);
        assert_eq!(passes(None, MemoryName::Lean), [[1, 1], [2, 2], [2, 3], [3, 4]]);
        assert_eq!(passes(None, MemoryName::Recompute), [[1, 1], [2, 2], [2, 3], [4, 4]]);
        assert_eq!(passes(Some(1), MemoryName::Recompute), [[1, 1], [2, 2], [2, 2], [2, 2]]);
    }
}
