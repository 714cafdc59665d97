"""What runs inside a job: one block, or a whole pipeline, of a Mage project, without Mage.

It starts in a few hundredths of a second, so it imports little: nothing of the mesh but `projects` and `errors`, and
pandas, polars, pyarrow or fsspec only for a value that needs them.

=================  ===========================================================================
``__main__.py``    the command `runmesh-run`, also as a plain script of a foreign interpreter
``arguments.py``   its flags · ``command.py``: from them to its exit code
``job.py``         its project, pipeline and block, and what blocks share · ``steps.py``: which child of a dynamic block
``block.py``       one block: conditions, inputs, code, outputs, tests, callbacks
``conditions.py``  whether it may run · ``callbacks.py``: what runs afterwards · ``addons.py``: their keywords
``inputs.py``      what it gets from the blocks above · ``children.py``: how a dynamic one fans out
``sources.py``     from a block to its code · ``checks.py``: what can't run here
``code.py``        an executed source: its functions, their arguments, its tests
``decorators.py``  `@data_loader` and the others, injected or imported from `mage_ai` · ``fileio.py``: its `FileIO`
``parameters.py``  what a function takes · ``keywords.py``: the keyword arguments of block functions
``spark.py``       the Spark session of a process that spark-submit started
``whole.py``       a whole pipeline in this process · ``progress.py``: its blocks' order, children and states
``notes.py``       which of its blocks began, for whoever comes after a process that was killed
``kept.py``        outputs handed on in memory · ``lines.py``: lines of blocks that run at the same time
``outputs.py``     where outputs are, and how a block's outputs are replaced as a whole
``places.py``      a directory tree on this machine, or behind fsspec
``values.py``      one output as files, and back; ``frames.py``: DataFrames; ``complex.py``: Mage's odd lists and dicts
``outcome.py``     what the mesh must know besides the exit code · ``failed.py``: how an error is told
=================  ===========================================================================
"""
