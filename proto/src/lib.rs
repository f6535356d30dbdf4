//! muster's gRPC API, version 1: messages, clients and servers made from `proto/muster/v1`, and conversions between
//! them and the model. The comments in the .proto files are the reference manual.

mod convert;
pub mod dial;
mod maintenance;
mod policy;

pub use convert::{Violation, command, duration, plan, time};
pub use policy::policy;

/// Package `muster.v1`.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    missing_debug_implementations,
    unused_qualifications,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("muster.v1");

    use std::fmt;

    impl fmt::Debug for SetCredentialRequest {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut debug = f.debug_struct("SetCredentialRequest");
            debug
                .field("name", &self.name)
                .field("username", &self.username)
                .finish_non_exhaustive()
        }
    }

    impl fmt::Debug for AssignedCredential {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut debug = f.debug_struct("AssignedCredential");
            debug
                .field("name", &self.name)
                .field("username", &self.username)
                .finish_non_exhaustive()
        }
    }
}

/// The descriptors of everything in [`v1`], with their comments, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/muster_v1.bin"));
