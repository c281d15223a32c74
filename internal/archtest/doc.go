// Package archtest holds the architecture's rules as tests: which package may
// import which, what the root module may require, and how the modules of the
// workspace are tied together.
//
// The rules read source files, not the build, so that a file for another
// operating system is held to them too.
package archtest
