//! The `footprint` command: what training takes of a chip's memory, from the plan that the chip would make.

use std::fmt::Write;

use clap::ValueEnum;
use serde::Serialize;
use sse_sam_core::network::models::MAX_LAYERS;
use sse_sam_core::{Arena, Demand, Error as CoreError, Graph, Method, Model, Plan, Row, Shape};

use crate::cli::args::FootprintArgs;
use crate::cli::bench;
use crate::device::layout::{Layout, Needs, first_trained};
use crate::error::Error;
use crate::recipe::resolved;
use crate::recipe::words::{MemoryName, MethodName, word};
use crate::report::console::say;

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
    /// The same of a program in C: it keeps what each class counts, and no rows but where batches pass in pieces.
    #[serde(skip_serializing_if = "Option::is_none")]
    c_f32: Option<usize>,
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
    /// The same for `sse_sam_plan`.
    c_arena_f32: Option<usize>,
    /// What that arena has less than one in which every layer is trained.
    saved_f32: usize,
}

/// A network as a chip plans it.
struct Chip {
    graph: Graph<MAX_LAYERS>,
    needs: Needs,
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
    /// Where a chip would have a training's numbers, with the records of one step.
    fn layout(&self, needs: &Needs) -> Result<Layout, Error> {
        Layout::of(self.graph.clone(), needs, 1, Arena::new(1))
    }

    /// The network with every layer trained; its batches pass whole where they could not pass in pieces.
    fn all_trained(&self) -> Result<Self, Error> {
        let needs = Needs { first: 0, ..self.needs };
        let separable = self.layout(&needs)?.plan.is_separable();
        Ok(Self { graph: self.graph.clone(), needs: Needs { piece: needs.piece.filter(|_| separable), ..needs } })
    }

    fn form(&self, name: MethodName, memory: MemoryName) -> Result<Form, Error> {
        let (method, economy) = (bench::method(name, 1), memory.economy());
        let groups = method.largest()?;
        let needs = Needs { groups, economy, ..self.needs };
        let layout = self.layout(&needs)?;
        let (vectors, usage, total_f32) = (needs.demand().vectors(), layout.plan.usage(), layout.words);
        let vectors_f32 = vectors * layout.plan.parameters();
        let rows_f32 = layout.session.table.length;
        let c_rows_f32 = if needs.piece.is_some() { 2 * rows_f32 } else { 0 };
        Ok(Form {
            method: word(&name),
            memory: word(&memory),
            passes: passes(&needs, method),
            vectors,
            vectors_f32,
            activations_f32: usage.activations,
            gradients_f32: usage.gradients,
            statistics_f32: usage.statistics,
            tables_f32: total_f32 - vectors_f32 - usage.activations - usage.gradients - usage.statistics,
            total_f32,
            total_bytes: 4 * total_f32,
            c_f32: Some(total_f32 - rows_f32 + c_rows_f32 + needs.classes),
        })
    }

    fn inference(&self) -> Result<Form, Error> {
        let mut arena = Arena::new(1);
        let usage = Plan::inference(&self.graph, self.needs.batch, &mut arena)?.usage();
        arena.allocate(self.needs.batch * Row::WORDS)?;
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
            c_f32: None,
        })
    }
}

/// Forward and backward passes of a batch in a step.
fn passes(needs: &Needs, method: Method) -> [usize; 2] {
    let demand = Demand { groups: needs.groups, economy: needs.economy, pieces: needs.piece.is_some() };
    demand.passes(method.has_tail())
}

impl Footprint {
    fn new(args: &FootprintArgs) -> Result<Self, Error> {
        let model = resolved::model(&args.model)?;
        // A perceptron's images are grey, unless it is said otherwise: channels have tables of their own.
        let grey = |usual: Shape| if matches!(model, Model::Mlp(_)) { Shape::new(1, usual.len(), 1) } else { usual };
        let (usual, classes) = bench::data(None, args.classes, &model);
        let image = args.image.unwrap_or_else(|| grey(usual));
        let model = resolved::with_stem(model, args.stem, image);
        let mut graph = Graph::new();
        model.build(&mut graph, image, classes)?;
        let first = first_trained(&graph, args.trainable_layers.as_deref())?;
        let batch = args.batch as usize;
        if args.micro_batch.is_some_and(|rows| rows > args.batch) {
            let message = format!("--micro-batch does nothing here: it must be at most the batch, {batch}");
            return Err(Error::Usage(message));
        }
        let piece = args.micro_batch.map(|rows| rows as usize);
        let chip = Chip { graph, needs: Needs { piece, first, ..Needs::new(image, classes, batch) } };
        let plan = chip.layout(&chip.needs)?.plan;
        if piece.is_some() && !plan.is_separable() {
            return Err(Error::Usage(format!("--micro-batch: {}", CoreError::Pieces)));
        }
        let mut forms = Vec::new();
        for method in MethodName::value_variants() {
            for memory in MemoryName::value_variants() {
                forms.push(chip.form(*method, *memory)?);
            }
        }
        let Form { total_f32: arena_f32, c_f32: c_arena_f32, .. } = chip.form(args.method, args.memory)?;
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
            c_arena_f32,
            saved_f32: whole.saturating_sub(arena_f32),
        })
    }

    /// The table for people.
    fn table(&self, args: &FootprintArgs) -> String {
        let Self { model, image, classes, batch, parameters, frozen_f32, arena_f32, c_arena_f32, .. } = self;
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
             C     #define SSE_SAM_ARENA {} /* static float[SSE_SAM_ARENA] */",
            word(&args.method),
            word(&args.memory),
            c_arena_f32.unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(model: &str, image: Shape, piece: Option<usize>) -> Chip {
        let mut graph = Graph::new();
        model.parse::<sse_sam_core::Model>().unwrap().build(&mut graph, image, 10).unwrap();
        Chip { graph, needs: Needs { piece, ..Needs::new(image, 10, 16) } }
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
        assert_eq!(passes(None, MemoryName::Full), [[1, 1], [2, 2], [2, 3], [3, 4], [2, 3]]);
        assert_eq!(passes(None, MemoryName::Lean), [[1, 1], [2, 2], [2, 3], [3, 4], [2, 3]]);
        assert_eq!(passes(None, MemoryName::Recompute), [[1, 1], [2, 2], [2, 3], [4, 4], [2, 3]]);
        assert_eq!(passes(Some(1), MemoryName::Recompute), [[1, 1], [2, 2], [2, 2], [2, 2], [3, 3]]);
    }
}
