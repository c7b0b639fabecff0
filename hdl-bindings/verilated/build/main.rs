//! Turns the RTL into C++ models with Verilator and compiles them together with the shim in `cpp/`.
//!
//! One model of a tile, one of the uncore per number of data cores in `SLUICE_DATA_CORES` (default `1,2`), and with the
//! feature `flat` one of the whole card per number.

mod tools;

use std::{
    env, fmt::Write as _, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tools::Tools;

/// A module to be turned into C++.
struct Model {
    /// SystemVerilog module.
    top: &'static str,
    /// Class name in C++.
    prefix: String,
    /// File list in `hdl-bindings/rtl`.
    list: &'static str,
    /// Parameters of the module.
    parameters: Vec<String>,
}

fn main() {
    if let Err(problem) = build() {
        eprintln!("\nerror: {problem}\n");
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let rtl = here.join("../rtl").canonicalize().map_err(|e| format!("hdl-bindings/rtl: {e}"))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo:rerun-if-changed={}", rtl.display());
    println!("cargo:rerun-if-changed={}", here.join("cpp").display());
    println!("cargo:rerun-if-changed={}", here.join("build").display());
    let tools = Tools::find(&here.join("../.."))?;
    let counts = data_core_counts()?;
    let models = models(&counts);
    for model in &models {
        verilate(model, &tools, &rtl, &out)?;
    }
    write_model_list(&counts, &out)?;
    compile(&models, &tools, &here.join("cpp"), &out)
}

fn data_core_counts() -> Result<Vec<u32>, String> {
    println!("cargo:rerun-if-env-changed=SLUICE_DATA_CORES");
    let list = env::var("SLUICE_DATA_CORES").unwrap_or_else(|_| "1,2".into());
    list.split(',')
        .map(|n| n.trim().parse().ok().filter(|n| (1..=16).contains(n)))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("SLUICE_DATA_CORES={list}: wanted numbers from 1 to 16, separated by commas"))
}

fn models(counts: &[u32]) -> Vec<Model> {
    let mut models = vec![Model { top: "sluice_tile", prefix: "Vsluice_tile".into(), list: "tile.f", parameters: vec![] }];
    for data_cores in counts {
        let parameters = vec![format!("-GNumDataCores={data_cores}")];
        models.push(Model {
            top: "sluice_uncore",
            prefix: format!("Vsluice_uncore_{data_cores}"),
            list: "uncore.f",
            parameters: parameters.clone(),
        });
        if cfg!(feature = "flat") {
            models.push(Model { top: "sluice_top", prefix: format!("Vsluice_top_{data_cores}"), list: "top.f", parameters });
        }
    }
    models
}

fn verilate(model: &Model, tools: &Tools, rtl: &Path, out: &Path) -> Result<(), String> {
    let dir = out.join(&model.prefix);
    // Leftovers of an earlier, larger model would be compiled as well.
    let _ = fs::remove_dir_all(&dir);
    let mut command = Command::new(&tools.verilator);
    command
        .current_dir(rtl)
        .env("VERILATOR_ROOT", &tools.root)
        .env("IBEX_DIR", &tools.ibex)
        .env("SLUICE_RTL", rtl)
        .args(["--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing", "--output-split", "20000"])
        .args(["-Wno-fatal", "-Wno-lint", "-Wno-style"])
        .args([if cfg!(feature = "assertions") { "--assert" } else { "--no-assert" }])
        .args(if cfg!(feature = "waves") { &["--trace-fst", "--trace-structs"][..] } else { &[] })
        .args(&model.parameters)
        .args(["--top-module", model.top, "--prefix", &model.prefix, "-f", model.list, "--Mdir"])
        .arg(&dir);
    let run = command.output().map_err(|e| format!("{}: {e}", tools.verilator.display()))?;
    if !run.status.success() {
        return Err(format!("Verilator rejects {}:\n{}", model.top, String::from_utf8_lossy(&run.stderr)));
    }
    Ok(())
}

/// `models.h`: includes every model and names the numbers of data cores that exist.
fn write_model_list(counts: &[u32], out: &Path) -> Result<(), String> {
    let mut text = String::from("// Written by build/main.rs.\n#include \"Vsluice_tile.h\"\n");
    let mut list = String::from("#define SLUICE_FOR_EACH_DATA_CORES(X)");
    for n in counts {
        let _ = writeln!(text, "#include \"Vsluice_uncore_{n}.h\"");
        if cfg!(feature = "flat") {
            let _ = writeln!(text, "#include \"Vsluice_top_{n}.h\"");
        }
        let _ = write!(list, " X({n})");
    }
    fs::write(out.join("models.h"), text + &list + "\n").map_err(|e| format!("models.h: {e}"))
}

fn compile(models: &[Model], tools: &Tools, shim: &Path, out: &Path) -> Result<(), String> {
    let include = tools.root.join("include");
    let mut cc = cc::Build::new();
    cc.cpp(true).std("c++17").warnings(false).include(out).include(shim).include(&include).include(include.join("vltstd"));
    // -O1 compiles in half the time of -O3 and runs as fast; debug information would be hundreds of megabytes.
    cc.opt_level(1).debug(false).flag("-faligned-new").flag_if_supported("-fcf-protection=none");
    let traced = if cfg!(feature = "waves") { "1" } else { "0" };
    for (name, value) in [("VERILATOR", "1"), ("VM_COVERAGE", "0"), ("VM_SC", "0"), ("VM_TIMING", "0"), ("VM_TRACE", traced)] {
        cc.define(name, value);
    }
    for (name, value) in [("VM_TRACE_FST", traced), ("VM_TRACE_VCD", "0"), ("VM_TRACE_SAIF", "0")] {
        cc.define(name, value);
    }
    // The shim reports failed assertions to Rust instead of ending the process.
    cc.define("VL_USER_STOP", "1").define("VL_USER_FATAL", "1");
    if cfg!(feature = "flat") {
        cc.define("SLUICE_FLAT", "1");
    }
    for model in models {
        cc.include(out.join(&model.prefix));
        for file in sources(&out.join(&model.prefix))? {
            cc.file(file);
        }
    }
    let mut runtime = vec!["verilated.cpp", "verilated_threads.cpp"];
    if cfg!(feature = "waves") {
        runtime.push("verilated_fst_c.cpp");
        println!("cargo:rustc-link-lib=lz4");
        println!("cargo:rustc-link-lib=z");
    }
    cc.files(runtime.iter().map(|name| include.join(name))).file(shim.join("shim.cpp"));
    cc.try_compile("sluice_verilated").map_err(|e| format!("compiling the models: {e}"))
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "cpp"))
        .collect();
    files.sort();
    Ok(files)
}
