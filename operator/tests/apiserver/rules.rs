//! The rules of access: what operators were seen to ask for.
