//! The programs of a device and their kernels.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ocl::core::{
    self, Context, Kernel, KernelWorkGroupInfo as WorkGroup, KernelWorkGroupInfoResult as WorkGroupResult, Program,
};
use sse_sam_kernels::{self as sources, Source};

use crate::opencl::algorithm::{Convolution, Matrix};
use crate::opencl::runtime::build::{build, build_log, text};
use crate::opencl::runtime::device::{DeviceInfo, Tiling};
use crate::opencl::runtime::error::Error;
use crate::opencl::runtime::tiles::Tiles;
use crate::opencl::runtime::verdict::Verdicts;
use crate::opencl::runtime::{blocks, loader, matrix};

/// Names every kernel once: its file, its number, its name.
macro_rules! kernels {
    ($($source:ident { $($kernel:ident = $name:literal,)* })*) => {
        /// A kernel, by its place among a backend's kernels.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Name {
            $($($kernel,)*)*
        }

        /// How many kernels there are.
        pub(crate) const KERNELS: usize = [$($($name,)*)*].len();

        /// Files and the kernels in them, in the order of [`Name`].
        const FILES: &[(Source, &[&str])] = &[$((sources::$source, &[$($name,)*]),)*];
    };
}

kernels! {
    VECTOR {
        Fill = "fill",
        Copy = "copy",
        Axpy = "axpy",
        AscendNorm = "ascend_norm",
        AscendMerge = "ascend_merge",
        Ascend = "ascend",
        SgdNorm = "sgd_norm",
        SgdMerge = "sgd_merge",
        Sgd = "sgd",
        Decay = "decay",
        Descend = "descend",
    }
    BASIS {
        DotsParts = "dots_parts",
        DotsMerge = "dots_merge",
        Combine = "combine",
    }
    GATHER {
        Gather = "gather",
    }
    LINEAR {
        LinearForward = "linear_forward",
        LinearBackwardInput = "linear_backward_input",
        LinearBackwardWeight = "linear_backward_weight",
    }
    CONVOLUTION {
        Conv2dForward = "conv2d_forward",
        Conv2dBackwardInput = "conv2d_backward_input",
        Conv2dBackwardWeight = "conv2d_backward_weight",
        Conv2dBackwardWeightMerge = "conv2d_backward_weight_merge",
    }
    BATCH_NORM {
        BatchNormForwardTiles = "batch_norm_forward_tiles",
        BatchNormForwardMerge = "batch_norm_forward_merge",
        BatchNormForward = "batch_norm_forward",
        BatchNormInference = "batch_norm_inference",
        BatchNormBackwardTiles = "batch_norm_backward_tiles",
        BatchNormBackwardMerge = "batch_norm_backward_merge",
        BatchNormBackward = "batch_norm_backward",
        BatchNormInferenceBackward = "batch_norm_inference_backward",
        BatchNormInferenceBackwardMerge = "batch_norm_inference_backward_merge",
    }
    ACTIVATION {
        ReluForward = "relu_forward",
        ReluBackward = "relu_backward",
    }
    SHORTCUT {
        ShortcutForward = "shortcut_forward",
        ShortcutBackward = "shortcut_backward",
    }
    POOLING {
        GlobalAveragePoolForward = "global_average_pool_forward",
        GlobalAveragePoolBackward = "global_average_pool_backward",
        MaxPoolForward = "max_pool_forward",
        MaxPoolBackward = "max_pool_backward",
        MaxPoolTangent = "max_pool_tangent",
    }
    LOSS {
        CrossEntropy = "cross_entropy",
        CrossEntropyMerge = "cross_entropy_merge",
        CrossEntropyTangent = "cross_entropy_tangent",
    }
    CONVOLUTION_BLOCK {
        Conv2dForward128x128 = "conv2d_forward_128x128",
        Conv2dForward128x64 = "conv2d_forward_128x64",
        Conv2dForward64x64 = "conv2d_forward_64x64",
        Conv2dForward128x32 = "conv2d_forward_128x32",
        Conv2dForward64x32 = "conv2d_forward_64x32",
        Conv2dForward128x16 = "conv2d_forward_128x16",
        Conv2dForward64x16 = "conv2d_forward_64x16",
        Conv2dForwardAny = "conv2d_forward_any",
        Conv2dForwardMerge = "conv2d_forward_merge",
        Conv2dBackwardInput128x128 = "conv2d_backward_input_128x128",
        Conv2dBackwardInput128x64 = "conv2d_backward_input_128x64",
        Conv2dBackwardInput64x64 = "conv2d_backward_input_64x64",
        Conv2dBackwardInput128x32 = "conv2d_backward_input_128x32",
        Conv2dBackwardInput64x32 = "conv2d_backward_input_64x32",
        Conv2dBackwardInput128x16 = "conv2d_backward_input_128x16",
        Conv2dBackwardInput64x16 = "conv2d_backward_input_64x16",
        Conv2dBackwardInputAny = "conv2d_backward_input_any",
        Conv2dBackwardInputMerge = "conv2d_backward_input_merge",
        Conv2dBackwardWeight128x128 = "conv2d_backward_weight_128x128",
        Conv2dBackwardWeight128x64 = "conv2d_backward_weight_128x64",
        Conv2dBackwardWeight64x64 = "conv2d_backward_weight_64x64",
        Conv2dBackwardWeight128x32 = "conv2d_backward_weight_128x32",
        Conv2dBackwardWeight64x32 = "conv2d_backward_weight_64x32",
        Conv2dBackwardWeight128x16 = "conv2d_backward_weight_128x16",
        Conv2dBackwardWeight64x16 = "conv2d_backward_weight_64x16",
        Conv2dBackwardWeightAny = "conv2d_backward_weight_any",
    }
    CONVOLUTION_TILE {
        Conv2dForwardPack = "conv2d_forward_pack",
        Conv2dBackwardInputPack = "conv2d_backward_input_pack",
        Conv2dForward3x3Wide = "conv2d_forward_3x3_wide",
        Conv2dForward3x3Middle = "conv2d_forward_3x3_middle",
        Conv2dForward3x3Narrow = "conv2d_forward_3x3_narrow",
        Conv2dForward3x3Step2Wide = "conv2d_forward_3x3_step2_wide",
        Conv2dForward3x3Step2Middle = "conv2d_forward_3x3_step2_middle",
        Conv2dForward3x3Step2Narrow = "conv2d_forward_3x3_step2_narrow",
        Conv2dForward1x1Step2Wide = "conv2d_forward_1x1_step2_wide",
        Conv2dForward1x1Step2Middle = "conv2d_forward_1x1_step2_middle",
        Conv2dForward1x1Step2Narrow = "conv2d_forward_1x1_step2_narrow",
        Conv2dBackwardInput3x3Step2Wide = "conv2d_backward_input_3x3_step2_wide",
        Conv2dBackwardInput3x3Step2Middle = "conv2d_backward_input_3x3_step2_middle",
        Conv2dBackwardInput3x3Step2Narrow = "conv2d_backward_input_3x3_step2_narrow",
        Conv2dBackwardInput1x1Step2Wide = "conv2d_backward_input_1x1_step2_wide",
        Conv2dBackwardInput1x1Step2Middle = "conv2d_backward_input_1x1_step2_middle",
        Conv2dBackwardInput1x1Step2Narrow = "conv2d_backward_input_1x1_step2_narrow",
        Conv2dBackwardWeight3x3Deep = "conv2d_backward_weight_3x3_deep",
        Conv2dBackwardWeight3x3Shallow = "conv2d_backward_weight_3x3_shallow",
        Conv2dBackwardWeight1x1 = "conv2d_backward_weight_1x1",
    }
    WINOGRAD {
        Conv2dForwardWinogradWeights = "conv2d_forward_winograd_weights",
        Conv2dForwardWinograd = "conv2d_forward_winograd",
        Conv2dBackwardWeightWinograd = "conv2d_backward_weight_winograd",
        Conv2dBackwardWeightWinogradWindows = "conv2d_backward_weight_winograd_windows",
        Conv2dBackwardWeightWinogradGradients = "conv2d_backward_weight_winograd_gradients",
        Conv2dBackwardWeightWinogradWide = "conv2d_backward_weight_winograd_wide",
        Conv2dBackwardWeightWinogradMerge = "conv2d_backward_weight_winograd_merge",
    }
}

/// Whether devices with these tiles build a file.
fn builds(tiling: Tiling, source: &Source) -> bool {
    let name = source.name;
    match () {
        () if name == sources::CONVOLUTION_BLOCK.name => !tiling.is_cpu(),
        () if name == sources::CONVOLUTION_TILE.name || name == sources::WINOGRAD.name => tiling.is_cpu(),
        () => true,
    }
}

/// A device with its programs, built once a process.
pub(crate) struct Built {
    pub info: DeviceInfo,
    pub tiles: Tiles,
    options: String,
    pub context: Context,
    /// One for each of [`FILES`]; none where the file is for other devices.
    programs: Vec<Option<Program>>,
    /// Work-groups of each kernel, once they are asked for.
    groups: OnceLock<Vec<Group>>,
    /// What checks of its blocks found.
    pub verdicts: Mutex<Verdicts>,
}

/// The work-groups that a kernel can be launched in.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Most work-items, as the driver says.
    most: usize,
    /// The work-items that its source asks for; 0 where it leaves that open.
    required: usize,
    /// Whether another kernel can take its place.
    replaceable: bool,
}

/// The work-items that groups must be narrowed to, if some kernel asks for more than it can have: a kernel's registers may
/// leave it fewer than its device has.
fn narrower(groups: &[Group]) -> Option<usize> {
    let narrow = groups.iter().filter(|group| !group.replaceable && group.required > group.most.max(1));
    narrow.map(|group| group.most.max(1)).min()
}

impl Built {
    /// The programs of `device`, built at the first call for it; once more where a kernel turns out to have smaller
    /// work-groups than the device.
    pub fn of(device: &DeviceInfo) -> Result<Arc<Self>, Error> {
        static BUILT: Mutex<Vec<Arc<Built>>> = Mutex::new(Vec::new());
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tiles = Tiles::for_device(device);
        loop {
            let options = tiles.options(device.fma, device.multiplier()) + &blocks::options(device);
            let found = built.iter().find(|built| built.serves(device, &tiles, &options)).map(Arc::clone);
            let found = match found {
                Some(found) => found,
                None => {
                    let new = Arc::new(Self::new(device, tiles, options)?);
                    built.push(Arc::clone(&new));
                    new
                }
            };
            let narrowed = narrower(found.groups()?).map_or(tiles, |items| tiles.within(items, u64::MAX));
            if narrowed == tiles {
                return Ok(found);
            }
            tiles = narrowed;
        }
    }

    /// Whether its kernels are what `device` wants.
    fn serves(&self, device: &DeviceInfo, tiles: &Tiles, options: &str) -> bool {
        let same_device = self.info.id == device.id && self.info.tiling() == device.tiling();
        same_device && self.tiles == *tiles && self.options == options
    }

    fn new(device: &DeviceInfo, tiles: Tiles, options: String) -> Result<Self, Error> {
        loader::take_failure();
        let context =
            core::create_context(None, &[device.id], None, None).map_err(|error| Error::of(&device.name, &error))?;
        if device.multiplier() != Matrix::Absent {
            matrix::check(&context, device, &options)?;
        }
        let program = |(source, _): &(Source, _)| {
            builds(device.tiles, source).then(|| build(&context, device, source, &options)).transpose()
        };
        let programs = FILES.iter().map(program).collect::<Result<_, Error>>()?;
        let (info, groups, verdicts) = (device.clone(), OnceLock::new(), Mutex::default());
        Ok(Self { info, tiles, options, context, programs, groups, verdicts })
    }

    /// New kernel objects, in the order of [`Name`]; none for those of other devices.
    pub fn kernels(&self) -> Result<Vec<Option<Kernel>>, Error> {
        let mut kernels = Vec::new();
        for (program, (_, names)) in self.programs.iter().zip(FILES) {
            for name in *names {
                let program = program
                    .as_ref()
                    .filter(|_| blocks::of_kernel(name).is_none_or(|block| block.is_within(&self.info)));
                let kernel = program.map(|program| core::create_kernel(program, name)).transpose();
                kernels.push(kernel.map_err(|error| Error::of(&self.info.name, &error))?);
            }
        }
        Ok(kernels)
    }

    /// The work-groups of each kernel, asked for once.
    fn groups(&self) -> Result<&[Group], Error> {
        if let Some(groups) = self.groups.get() {
            return Ok(groups);
        }
        let kernels = kernel_names().zip(self.kernels()?);
        let group = |(name, kernel): (&str, Option<Kernel>)| {
            let replaceable = blocks::of_kernel(name).is_some();
            let Some(kernel) = kernel else { return Ok(Group { most: usize::MAX, required: 0, replaceable }) };
            let mut group = Group { most: self.info.largest_group, required: 0, replaceable };
            for request in [WorkGroup::WorkGroupSize, WorkGroup::CompileWorkGroupSize] {
                match self.ask(&kernel, request)? {
                    // Some drivers report 0: the device's own limit counts then.
                    WorkGroupResult::WorkGroupSize(most) if most > 0 => group.most = most.min(group.most),
                    WorkGroupResult::CompileWorkGroupSize([required, ..]) => group.required = required,
                    _ => {}
                }
            }
            Ok(group)
        };
        let groups = kernels.map(group).collect::<Result<Vec<_>, Error>>()?;
        Ok(self.groups.get_or_init(|| groups))
    }

    /// Most work-items of a group of a kernel.
    pub fn limit(&self, name: Name) -> usize {
        let group = self.groups.get().and_then(|groups| groups.get(name as usize));
        group.map_or(self.info.largest_group, |group| group.most)
    }

    /// What the driver says of a kernel.
    pub fn ask(&self, kernel: &Kernel, request: WorkGroup) -> Result<WorkGroupResult, Error> {
        let answer = core::get_kernel_work_group_info(kernel, self.info.id, request);
        answer.map_err(|error| Error::of(&self.info.name, &error))
    }
}

/// What a kernel takes of its device, as the driver says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelUsage {
    /// The kernel.
    pub name: &'static str,
    /// Most work-items that a group of it can have.
    pub largest_group: usize,
    /// Bytes of local memory of a group.
    pub local: u64,
    /// Bytes of memory that a work-item has to itself.
    pub private: u64,
}

/// What every kernel of a device takes of it.
///
/// # Errors
/// [`Error::Build`] when a kernel does not build, [`Error::Call`] when the driver fails.
pub fn kernel_usages(device: &DeviceInfo) -> Result<Vec<KernelUsage>, Error> {
    let built = Built::of(device)?;
    let kernels = built.kernels()?;
    let there = kernel_names().zip(&kernels).filter_map(|(name, kernel)| Some((name, kernel.as_ref()?)));
    let usage = |(name, kernel)| {
        let mut usage = KernelUsage { name, largest_group: 0, local: 0, private: 0 };
        for request in [WorkGroup::WorkGroupSize, WorkGroup::LocalMemSize, WorkGroup::PrivateMemSize] {
            match built.ask(kernel, request)? {
                WorkGroupResult::WorkGroupSize(size) => usage.largest_group = size,
                WorkGroupResult::LocalMemSize(bytes) => usage.local = bytes,
                WorkGroupResult::PrivateMemSize(bytes) => usage.private = bytes,
                _ => {}
            }
        }
        Ok(usage)
    };
    there.map(usage).collect()
}

/// What decides the bits of kernels on `device` beside the device itself: how convolutions are computed, the sizes that
/// kernels are built with, and a checksum of their sources and of the program that launches them.
pub fn kernel_table(device: &DeviceInfo, convolution: Convolution) -> String {
    let mut hasher = crc32fast::Hasher::new();
    let sources = FILES.iter().map(|(source, _)| source.text);
    for text in sources.chain([sources::COMMON.text, env!("CARGO_PKG_VERSION")]) {
        hasher.update(text.as_bytes());
    }
    let precision = match device.multiplier() {
        Matrix::Absent => String::new(),
        matrix => format!(" {matrix:?}"),
    };
    format!("{convolution:?} {:?}{precision} {:08x}", Tiles::for_device(device), hasher.finalize())
}

/// What a compiler is given for a file.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Unit {
    /// The file's name.
    pub file: &'static str,
    /// The kernels that are made from it.
    pub kernels: &'static [&'static str],
    /// The text, with what every file starts with.
    pub text: String,
    /// The compiler's options.
    pub options: String,
}

/// What a device with a fused multiply-add builds, and what it measures with, for compilers other than a driver's.
#[doc(hidden)]
pub fn units(tiling: Tiling, multiplier: Matrix) -> impl Iterator<Item = Unit> {
    let options = Tiles::of(tiling).options(true, multiplier);
    let files = FILES.iter().copied().filter(move |(source, _)| builds(tiling, source));
    let files = files.chain([(sources::MEASURE, &["measure_fma"][..])]);
    files.map(move |(source, kernels)| Unit {
        file: source.name,
        kernels,
        text: text(&source),
        options: options.clone(),
    })
}

/// What a device's compiler says of each file that it has built, without a failure.
///
/// # Errors
/// [`Error::Build`] when a kernel does not build, [`Error::Call`] when the driver fails.
#[doc(hidden)]
pub fn build_logs(device: &DeviceInfo) -> Result<Vec<(&'static str, String)>, Error> {
    let built = Built::of(device)?;
    let there = built.programs.iter().zip(FILES).filter_map(|(program, (source, _))| Some((program.as_ref()?, source)));
    Ok(there.map(|(program, source)| (source.name, build_log(program, device))).collect())
}

/// Every kernel's name.
pub fn kernel_names() -> impl Iterator<Item = &'static str> {
    FILES.iter().flat_map(|(_, names)| names.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_that_can_have_the_fewest_work_items_says_how_far_groups_are_narrowed() {
        let group = |most, required| Group { most, required, replaceable: false };
        assert_eq!(narrower(&[group(256, 256), group(64, 1), group(32, 0)]), None);
        assert_eq!(narrower(&[group(256, 256), group(128, 256), group(100, 256), group(1, 1)]), Some(100));
        assert_eq!(narrower(&[group(0, 1), group(0, 2)]), Some(1), "a driver that says nothing of use");
        assert_eq!(narrower(&[Group { replaceable: true, ..group(128, 256) }]), None, "blocks have others beside them");
    }
}
