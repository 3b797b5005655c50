"""
The lines on a child's command line: they fetch the core and run it, in the same interpreter.

Ring 1. The text here is not imported by the child, it is passed to ``python -c``. It must run on Python 2.7 too, as
far as the line that says that this is too old; must contain no single quote, newline, exclamation mark or dollar sign,
so that every shell, csh among them, passes it on unharmed between single quotes; and must stay short, because system
logs (sudo's, auditd's) record it.

What it does, in order:

1. drops the empty entry that ``-c`` puts on sys.path: a module in the current folder must not run as another user;
2. refuses a Python that is too old, in words;
3. writes HELLO, backwards in the text so that a shell which echoes its commands does not write it;
4. reads as many bytes as its second argument says (or takes them from it: CARRYING), makes `mitogen.core` of them and
   runs that under its own name, so that each class in it has one identity. To compile the core takes as long as to
   start an interpreter: where parent and child are known to run the same, it comes as code (COMPILED).
"""

#: Written by the first stage when it starts to read; then the interpreter is there, and standard input is its own.
HELLO = b'MITOGEN\n'

_PROLOGUE = 'import sys;sys.path=[p for p in sys.path if p];import io,os,zlib;'

_OLD = 'sys.hexversion<0x3060000 and sys.exit("needs Python 3.6, is "+sys.version);'

# A buffer of one byte: read() takes as many bytes as asked for and not one of the messages behind them.
_READ = ('os.write(1,b"%s"[::-1]);b=io.BufferedReader(io.FileIO(0,"r",0),1).read(int(sys.argv[2]));'
         % HELLO[::-1].decode().replace('\n', '\\n'))

_CARRIED = 'import base64;b=base64.b64decode(sys.argv[2]);'

_RUN = ('n="mitogen.core";m=sys.modules[n]=type(sys)(n);'
        'exec(compile(zlib.decompress(b,-15),n,"exec"),m.__dict__)')

#: Reads the core from standard input. Arguments: name, number of bytes.
READING = _PROLOGUE + _OLD + _READ + _RUN

#: The same, for the Python that the parent runs.
COMPILED = _PROLOGUE + _READ + 'import marshal;core,run=marshal.loads(b);exec(run)'

#: Has the core on the command line. Arguments: name, the core in base64.
CARRYING = _PROLOGUE + _OLD + _CARRIED + _RUN
