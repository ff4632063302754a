//! Every operation of core in a program that cannot panic: its panic handler calls a symbol that nobody defines, so the
//! linker refuses the program unless the optimiser has proved that no panic is reached.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use sse_sam_core::{Backend, Batch, Conv2d, Cpu, Error, Outcome, Row, Samples, Sgd, Shape, Space, Span, Terms};

unsafe extern "C" {
    /// Defined nowhere.
    fn sse_sam_core_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: no program in which this call is left over links.
    unsafe { sse_sam_core_can_panic() }
}

/// A number that the optimiser knows nothing about.
fn any() -> usize {
    black_box(0)
}

fn span() -> Span {
    let space = match any() {
        0 => Space::Work,
        1 => Space::Constant,
        _ => Space::Samples,
    };
    Span { space, offset: any(), length: any() }
}

fn shape() -> Shape {
    Shape::new(any(), any(), any())
}

fn flag() -> bool {
    any() > 0
}

fn number() -> f32 {
    black_box(0.5)
}

/// Up to three spans: fewer, and more, than a backward method takes.
struct Spans([Span; 3]);

impl Spans {
    fn any() -> Self {
        Self([span(), span(), span()])
    }

    fn list(&self) -> &[Span] {
        self.0.get(..any()).unwrap_or(&self.0)
    }
}

fn memory(backend: &mut Cpu<'_>) -> Result<(), Error> {
    let mut values = [0.0; 8];
    backend.write(span().part(any(), any())?, &values)?;
    backend.read(&mut values, span())?;
    backend.fill(span(), number())?;
    backend.copy(span(), span())?;
    let batch = Batch { images: span(), labels: span(), weights: [span(), span()] };
    let samples = Samples { images: span(), labels: span(), image: shape(), normalization: span() };
    backend.gather(&batch, span(), &samples)?;
    let row = Row::decode(&black_box([0.0; Row::WORDS]));
    black_box(row.encode());
    Ok(())
}

fn vectors(backend: &mut Cpu<'_>) -> Result<(), Error> {
    backend.axpy(span(), number(), span())?;
    backend.ascend(span(), span(), number())?;
    let outcome = Outcome { squared_norm: span(), failure: span(), number: number() };
    let sgd = Sgd { learning_rate: number(), momentum: number(), weight_decay: number(), nesterov: flag() };
    backend.sgd(span(), span(), &outcome, span(), &sgd)
}

fn layers(backend: &mut Cpu<'_>) -> Result<(), Error> {
    let [a, b, c] = [(); 3].map(|()| Spans::any());
    backend.linear_forward(span(), span(), span(), span())?;
    backend.linear_backward_input(a.list(), b.list(), span(), any(), flag())?;
    backend.linear_backward_weight(a.list(), b.list(), span(), c.list())?;
    // Its fields are public: a convolution need not have come out of `Conv2d::new`.
    let conv = Conv2d { input: shape(), output: shape(), kernel: any(), stride: any(), padding: any() };
    for conv in [conv, Conv2d::new(shape(), any(), any(), any(), any())?] {
        backend.conv2d_forward(span(), span(), span(), &conv)?;
        backend.conv2d_backward_input(a.list(), b.list(), span(), &conv, flag())?;
        backend.conv2d_backward_weight(a.list(), span(), b.list(), &conv)?;
    }
    Ok(())
}

fn normalization(backend: &mut Cpu<'_>) -> Result<(), Error> {
    let [a, b, c, d] = [(); 4].map(|()| Spans::any());
    let maybe = || flag().then(span);
    backend.batch_norm_forward(span(), span(), maybe(), span(), span(), span(), maybe(), flag())?;
    backend.batch_norm_inference(span(), span(), span(), span(), span(), maybe(), flag())?;
    let (dx, dweight, dbias, dy) = (a.list(), b.list(), c.list(), d.list());
    backend.batch_norm_backward(dx, dweight, dbias, dy, span(), span(), span(), span(), flag(), flag(), flag())
}

fn rest(backend: &mut Cpu<'_>) -> Result<(), Error> {
    let [a, b, c] = [(); 3].map(|()| Spans::any());
    backend.relu_forward(span(), span())?;
    backend.relu_backward(a.list(), b.list(), span(), flag())?;
    backend.shortcut_forward(span(), span(), shape(), shape())?;
    backend.shortcut_backward(a.list(), b.list(), shape(), shape(), flag())?;
    backend.global_average_pool_forward(span(), span(), shape())?;
    backend.global_average_pool_backward(a.list(), b.list(), shape(), flag())?;
    let terms = Terms { scale: span(), shift: span(), margin: span(), focal: number() };
    backend.cross_entropy(a.list(), b.list(), span(), span(), c.list(), &terms)
}

/// The operation without a method of its own.
fn slices(values: &[f32]) {
    black_box(sse_sam_core::ops::squared_norm(values));
    #[cfg(feature = "panics")]
    black_box(values[any()]);
}

/// Where the program begins; it is linked, never run.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    let (mut work, constant, samples) = ([0.0; 64], [0.0; 64], [0; 64]);
    slices(black_box(&work));
    let mut backend = Cpu::new(black_box(&mut work), black_box(&constant), black_box(&samples));
    for part in [memory, vectors, layers, normalization, rest] {
        let _ = black_box(part(&mut backend));
    }
    loop {
        core::hint::spin_loop();
    }
}
