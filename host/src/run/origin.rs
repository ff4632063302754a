//! Where the numbers of a run come from.

use serde::{Deserialize, Serialize};

use crate::device::machine::Identity;
use crate::opencl::AlgorithmTable;

/// The version that reads the checkpoints it wrote, and no other.
pub(crate) const PROGRAM: &str = concat!("sse-sam ", env!("CARGO_PKG_VERSION"));

/// What a run's numbers are a function of, beside the position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Origin {
    /// Program and version.
    pub program: String,
    /// The device.
    pub device: String,
    /// Its driver.
    pub driver: String,
    /// How its kernels were built, and from which sources.
    pub kernels: String,
    /// The data's fingerprint.
    pub fingerprint: String,
    /// The forms of convolutions, where the device had a choice.
    #[serde(default, skip_serializing_if = "AlgorithmTable::is_empty")]
    pub convolutions: AlgorithmTable,
}

impl Origin {
    /// Whether this device, driver and kernels made it, whichever forms of convolutions were chosen.
    pub fn is_of(&self, identity: &Identity) -> bool {
        let Identity { name, driver, kernels, .. } = identity;
        (&self.device, &self.driver, &self.kernels) == (name, driver, kernels)
    }

    /// Whether the same device, driver and kernels made both, with the same forms of convolutions.
    pub fn is_like(&self, other: &Self) -> bool {
        let Self { device, driver, kernels, convolutions, .. } = other;
        (&self.device, &self.driver, &self.kernels, &self.convolutions) == (device, driver, kernels, convolutions)
    }

    /// What this program makes of these data on this device.
    pub fn new(identity: Identity, fingerprint: &str) -> Self {
        let Identity { name: device, driver, kernels, convolutions, .. } = identity;
        Self { program: PROGRAM.into(), device, driver, kernels, fingerprint: fingerprint.into(), convolutions }
    }
}
