"""The queue around the delivery engine: what `twistd zsmtp` runs.

A control file that appears in the spool is seen (`watch`), read (`intake`) and put into the `queue`, one job
for each destination; `dispatch` gives due jobs to the engine as `limits` allow; what became of them is logged
(`logline`), and `schedule` decides what follows.  When nobody is left to deliver to, `finish` sends the
reports that `bounce` composes and removes the files.  The spool alone says what is to be done: `journal` only
remembers across a restart when to try again.  `service` puts all of it together.
"""
