"""What a user might run instead of Keymiss, each a small server in a virtual environment of its own.

`servers` lists them, `environments` makes their environments, `hosting` starts and surely ends them. The
files `with_*` are the servers: they run in those environments, and import nothing of Keymiss but `reading`,
which stands beside them.
"""
