"""One training in several processes on this machine, started and restarted by torchrun.

    job process --- agent (torchrun) --- rank 0: runs the trainer, decides, writes
         |                          `--- rank 1, ...: take part in its fits (see plugins.fitting.ranks)
         `--- a socket to each rank: the training context is asked over it, and the outcome comes back

The job process keeps the record, the clock and the fence, as it does for a training of its own process. When
a rank is killed, the agent starts all of them again, and they go on from the checkpoint. When the job process
is killed, all of them are.
"""
