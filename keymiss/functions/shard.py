"""The shard this worker works for: the one object through which functions reach it.

Threads
1. One thread runs the loop and is the only reader of the channel. It runs coroutines, `sync` jobs and the handlers of
   frames. Plain functions run in the pool (`in_pool`), a few threads; functions may start threads of their own.
2. `execute`, `call`, `run_model`, `begin`, `end`, `hook`, `unhook`, `send` and `log` are for every thread. They block their
   caller until the answer is there or the deadline passes. On the loop's thread that means: it reads frames itself until
   then (`Channel.read_until`), keeps jobs that arrive for later, but runs `sync` jobs at once, since the server waits.
3. `execute_async` and `run_model_async` are for coroutines: nothing blocks.
4. `spawn` is for the loop's thread only; `in_pool` for every thread; `call_soon` brings any thread back to the loop.
5. A command belongs to the job of the context that runs it (`context.current`), which gives it its database and, inside
   `begin`/`end`, the server's undivided attention. One section is open at a time in a worker; others wait for it.
6. A coroutine must not await inside a section: the section is ended for it where it does, as soon as anything else on the
   loop's thread needs the server, so that nothing can lock up.
"""
