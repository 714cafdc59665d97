"""What runs inside a job: one block, or a whole pipeline, of a Mage project, without Mage.

It starts in a few hundredths of a second, so it imports little: nothing of the mesh but `projects` and `errors`, and
pandas, polars, pyarrow or fsspec only for a value that needs them.

=================  ===========================================================================
``__main__.py``    the command `runmesh-run`, also as a plain script of a foreign interpreter
``arguments.py``   its flags
``command.py``     one command from its flags to its exit code
``job.py``         which blocks run, in which order; what can't run here
``code.py``        one block's source: its decorated functions, their arguments, its tests
``decorators.py``  `@data_loader` and the others, injected or imported from `mage_ai`
``parameters.py``  what a function takes · ``keywords.py``: the keyword arguments of block functions
``outputs.py``     where outputs are, and how a block's outputs are replaced as a whole
``places.py``      a directory tree on this machine, or behind fsspec
``values.py``      one output as files, and back; ``frames.py``: DataFrames
``outcome.py``     what the mesh must know besides the exit code
=================  ===========================================================================
"""
