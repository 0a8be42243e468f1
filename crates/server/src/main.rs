//! The one binary, `longtake`.

fn main() -> std::process::ExitCode {
    longtake::cli::main()
}
