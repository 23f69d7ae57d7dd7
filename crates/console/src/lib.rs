//! The shelf command language: parse, plan, act, render
