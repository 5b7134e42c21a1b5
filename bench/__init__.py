"""Every number that the README claims, in one command each: `keymiss bench overhead`, `keymiss bench miss`.

Each benchmark starts its own servers, a plain one without the module among them, and measures them in
interleaved rounds of the same run: numbers of different days or machines are never compared.
"""
