"""The convention of streams: its rules, and which of them an outlet or a recording keeps."""
