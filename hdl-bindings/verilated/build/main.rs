//! Turns the RTL into C++ models with Verilator and compiles them together with the shim in `cpp/`.
//!
//! One model of a tile, one of the uncore per number of data cores in `SLUICE_DATA_CORES` (default `1,2`), and with the
//! feature `flat` one of the whole card per number.

mod tools;

use std::{
    env,
    fmt::Write as _,
    fs,
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
    /// Further arguments: parameters of the module, configuration.
    arguments: Vec<String>,
}

fn main() {
    if linting() {
        return;
    }
    if let Err(problem) = build() {
        eprintln!("\nerror: {problem}\n");
        std::process::exit(1);
    }
}

/// Clippy links nothing and needs no models. Cargo keeps what it builds apart from what others build.
fn linting() -> bool {
    println!("cargo:rerun-if-changed=build");
    env::var_os("RUSTC_WORKSPACE_WRAPPER")
        .is_some_and(|wrapper| wrapper.to_string_lossy().contains("clippy-driver"))
}

fn build() -> Result<(), String> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let rtl = here
        .join("../rtl")
        .canonicalize()
        .map_err(|e| format!("hdl-bindings/rtl: {e}"))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo:rerun-if-changed={}", rtl.display());
    println!("cargo:rerun-if-changed={}", here.join("cpp").display());
    println!("cargo:rerun-if-changed={}", here.join("build").display());
    let tools = Tools::find(&here.join("../.."))?;
    let counts = data_core_counts()?;
    let models = models(&counts, &here.join("cpp"));
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
        .ok_or_else(|| {
            format!("SLUICE_DATA_CORES={list}: wanted numbers from 1 to 16, separated by commas")
        })
}

fn models(counts: &[u32], shim: &Path) -> Vec<Model> {
    let visible = shim.join("visible.vlt").display().to_string();
    let mut models = vec![Model {
        top: "sluice_tile",
        prefix: "Vsluice_tile".into(),
        list: "tile.f",
        arguments: vec![shim.join("visible_tile.vlt").display().to_string()],
    }];
    for data_cores in counts {
        let parameter = format!("-GNumDataCores={data_cores}");
        models.push(Model {
            top: "sluice_uncore",
            prefix: format!("Vsluice_uncore_{data_cores}"),
            list: "uncore.f",
            arguments: vec![parameter.clone(), visible.clone()],
        });
        if cfg!(feature = "flat") {
            models.push(Model {
                top: "sluice_top",
                prefix: format!("Vsluice_top_{data_cores}"),
                list: "top.f",
                arguments: vec![parameter],
            });
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
        .args([
            "--cc",
            "-O3",
            "--x-assign",
            "fast",
            "--x-initial",
            "fast",
            "--no-timing",
            "--output-split",
            "20000",
        ])
        .args(["-Wno-fatal", "-Wno-lint", "-Wno-style"])
        .args([if cfg!(feature = "assertions") {
            "--assert"
        } else {
            "--no-assert"
        }])
        .args(if cfg!(feature = "waves") {
            &["--trace-fst", "--trace-structs"][..]
        } else {
            &[]
        })
        .args(&model.arguments)
        .args([
            "--top-module",
            model.top,
            "--prefix",
            &model.prefix,
            "-f",
            model.list,
            "--Mdir",
        ])
        .arg(&dir);
    let run = command
        .output()
        .map_err(|e| format!("{}: {e}", tools.verilator.display()))?;
    if !run.status.success() {
        return Err(format!(
            "Verilator rejects {}:\n{}",
            model.top,
            String::from_utf8_lossy(&run.stderr)
        ));
    }
    Ok(())
}

/// `models.h`: includes every model and names the numbers of data cores that exist.
fn write_model_list(counts: &[u32], out: &Path) -> Result<(), String> {
    let mut text = String::from(
        "// Written by build/main.rs.\n#include \"Vsluice_tile.h\"\n#include \"Vsluice_tile___024root.h\"\n",
    );
    let mut list = String::from("#define SLUICE_FOR_EACH_DATA_CORES(X)");
    for n in counts {
        let _ = writeln!(
            text,
            "#include \"Vsluice_uncore_{n}.h\"\n#include \"Vsluice_uncore_{n}___024root.h\""
        );
        if cfg!(feature = "flat") {
            let _ = writeln!(text, "#include \"Vsluice_top_{n}.h\"");
        }
        let _ = write!(list, " X({n})");
    }
    fs::write(out.join("models.h"), text + &list + "\n").map_err(|e| format!("models.h: {e}"))
}

/// The shim, the models and Verilator's runtime, each a library of its own, so that a change of one does not compile the
/// others again. Users come before what they use.
fn compile(models: &[Model], tools: &Tools, shim: &Path, out: &Path) -> Result<(), String> {
    let include = tools.root.join("include");
    library(
        "sluice_shim",
        &[shim.join("shim.cpp")],
        None,
        models,
        tools,
        shim,
        out,
    )?;
    for model in models {
        let files = sources(&out.join(&model.prefix))?;
        library(
            &model.prefix,
            &files,
            Some(&files),
            models,
            tools,
            shim,
            out,
        )?;
    }
    let mut runtime = vec!["verilated.cpp", "verilated_threads.cpp"];
    if cfg!(feature = "waves") {
        runtime.push("verilated_fst_c.cpp");
    }
    let runtime: Vec<_> = runtime.iter().map(|name| include.join(name)).collect();
    library(
        "sluice_verilator_runtime",
        &runtime,
        None,
        models,
        tools,
        shim,
        out,
    )
}

/// Compiles a static library, unless `inputs` is given and they are what the library there was made of.
fn library(
    name: &str,
    files: &[PathBuf],
    inputs: Option<&[PathBuf]>,
    models: &[Model],
    tools: &Tools,
    shim: &Path,
    out: &Path,
) -> Result<(), String> {
    let stamp = inputs.map(|inputs| fingerprint(inputs, out)).transpose()?;
    let stamp_file = out.join(format!("{name}.stamp"));
    if stamp.is_some() && fs::read_to_string(&stamp_file).ok() == stamp {
        println!("cargo:rustc-link-lib=static={name}");
        println!("cargo:rustc-link-search=native={}", out.display());
        return Ok(());
    }
    let include = tools.root.join("include");
    let mut cc = cc::Build::new();
    cc.cpp(true)
        .std("c++17")
        .warnings(false)
        .include(out)
        .include(shim)
        .include(&include)
        .include(include.join("vltstd"));
    cc.includes(models.iter().map(|model| out.join(&model.prefix)));
    // Headers of the crates that bring lz4 and zlib, with `waves`.
    cc.includes(
        ["DEP_LZ4_INCLUDE", "DEP_Z_INCLUDE"]
            .iter()
            .filter_map(env::var_os),
    );
    // -O1 compiles in half the time of -O3 and runs as fast; debug information would be hundreds of megabytes.
    cc.opt_level(1)
        .debug(false)
        .flag("-faligned-new")
        .flag_if_supported("-fcf-protection=none");
    let traced = if cfg!(feature = "waves") { "1" } else { "0" };
    for (name, value) in [
        ("VERILATOR", "1"),
        ("VM_COVERAGE", "0"),
        ("VM_SC", "0"),
        ("VM_TIMING", "0"),
        ("VM_TRACE", traced),
    ] {
        cc.define(name, value);
    }
    for (name, value) in [
        ("VM_TRACE_FST", traced),
        ("VM_TRACE_VCD", "0"),
        ("VM_TRACE_SAIF", "0"),
    ] {
        cc.define(name, value);
    }
    // The shim reports failed assertions to Rust instead of ending the process.
    cc.define("VL_USER_STOP", "1").define("VL_USER_FATAL", "1");
    if cfg!(feature = "flat") {
        cc.define("SLUICE_FLAT", "1");
    }
    cc.files(files)
        .try_compile(name)
        .map_err(|e| format!("compiling {name}: {e}"))?;
    stamp.map_or(Ok(()), |stamp| {
        fs::write(&stamp_file, stamp).map_err(|e| format!("{name}.stamp: {e}"))
    })
}

/// Of the sources' contents, headers included, and of this build script.
fn fingerprint(files: &[PathBuf], out: &Path) -> Result<String, String> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    (
        include_str!("main.rs"),
        env::var("TARGET").ok(),
        cfg!(feature = "waves"),
    )
        .hash(&mut hash);
    let dir = files.first().and_then(|file| file.parent()).unwrap_or(out);
    for file in with_extensions(dir, &["cpp", "h"])? {
        file.file_name().hash(&mut hash);
        fs::read(&file)
            .map_err(|e| format!("{}: {e}", file.display()))?
            .hash(&mut hash);
    }
    Ok(format!("{:016x}", hash.finish()))
}

/// What Verilator wrote, without the C symbols of the core's own DPI exports, which nobody calls and which would clash
/// between models.
fn sources(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = with_extensions(dir, &["cpp"])?;
    files.retain(|path| !path.to_string_lossy().ends_with("__Dpi.cpp"));
    Ok(files)
}

fn with_extensions(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|e| extensions.iter().any(|wanted| e == *wanted))
        })
        .collect();
    files.sort();
    Ok(files)
}
