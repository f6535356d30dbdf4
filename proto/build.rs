//! Compiles the .proto files in pure Rust, so that no protoc is needed.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let names = [
        "admin",
        "audit",
        "common",
        "credential",
        "device",
        "job",
        "policy",
        "schedule",
        "worker",
    ];
    let files = names.map(|name| format!("muster/v1/{name}.proto"));
    for file in &files {
        println!("cargo::rerun-if-changed={file}");
    }
    let mut compiler = protox::Compiler::new(["."])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    let descriptors = compiler.file_descriptor_set();
    // With the comments: they are the reference manual, and reflection hands them out.
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("muster_v1.bin"), encoded)?;
    tonic_prost_build::configure()
        .bytes(".muster.v1.LiveRows.sentences")
        .bytes(".muster.v1.Report.replies")
        .bytes(".muster.v1.PreState.pre")
        .skip_debug([".muster.v1.SetCredentialRequest", ".muster.v1.AssignedCredential"])
        .compile_fds(descriptors)?;
    Ok(())
}
