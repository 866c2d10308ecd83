//! What goes wrong in the field, on the real binary with its embedded log: poisoned records, devices that upload
//! newest first, ports and folders in use, broken files, a full disk. Each costs what it must and nothing else.

mod disk;
mod poison;
mod start;
mod upload;
mod world;
