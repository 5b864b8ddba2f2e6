/** @file The buttons that save the model, or forget it. How files leave the page is in `save.ts`. */
import { useState } from 'preact/hooks';
import { announce, forget, saveModel } from '../../state.js';
import { canSaveFolder, downloadZip, saveFolder } from './save.js';

export function Save() {
  const [isSaving, setSaving] = useState(false);
  const save = async (zip: boolean): Promise<void> => {
    setSaving(true);
    try {
      const told = zip ? await downloadZip(() => saveModel(true)) : await saveFolder(() => saveModel(false));
      if (told !== null) announce(told);
    } catch (error) {
      announce('', (error as Error).message);
    } finally {
      setSaving(false);
    }
  };
  const confirmForget = (): void => {
    if (confirm('Forget this model? It is removed from this browser; download it first if you want to keep it.'))
      void forget();
  };
  return (
    <>
      <div class="actions row">
        {canSaveFolder() && (
          <button type="button" class="primary" disabled={isSaving} onClick={() => void save(false)}>
            Save as a folder
          </button>
        )}
        <button type="button" disabled={isSaving} onClick={() => void save(true)}>
          Download as .zip
        </button>
        <button type="button" class="quiet danger" onClick={confirmForget}>
          Forget it
        </button>
      </div>
      <p class="hint">
        The folder is what the command reads: <code>npx xlstm generate FOLDER "A prompt"</code>
      </p>
    </>
  );
}
