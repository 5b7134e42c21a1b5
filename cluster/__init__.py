"""A cluster on this machine: brought up, watched and taken down."""
