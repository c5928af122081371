"""The room of figures: this library beside others, on one machine, in one sitting."""
