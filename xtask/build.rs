//! `include_dir!` does not notice files added to `templates/`; cargo watches the whole folder when told to.

fn main() {
    println!("cargo::rerun-if-changed=../templates");
    println!("cargo::rerun-if-changed=build.rs");
}
